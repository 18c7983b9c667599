# Power is lost at point 11 of the journal: points are before and after each entry.
fleet 2
plan waves 1,1 at-once 1
host 0 reboots
crash 0 at 11
start
run 1h
show
