"""Method configurations, one file each: open one to tune a method."""
