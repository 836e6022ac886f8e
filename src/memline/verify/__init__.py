"""What a program really takes, found out by code that the planner does not share."""
