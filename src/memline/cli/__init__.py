"""The command line: `memline pack` and its sisters, each a module of its own that is loaded when it is asked for."""
