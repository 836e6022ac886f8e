"""The trade of memory against time: what a program costs under each limit."""
