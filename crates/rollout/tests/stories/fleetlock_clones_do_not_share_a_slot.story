# One place for host 1's group; a clone of host 1 asks with the same key. It does not get the place a second time.
fleet 3
plan waves 1,2 away 1 bad 0 at-once 1
start
run 11m
clone 1
run 2h
show
