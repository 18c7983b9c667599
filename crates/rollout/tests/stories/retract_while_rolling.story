# The bulletin is withdrawn in the second wave: whoever has begun finishes, nobody else begins.
fleet 7
plan waves 1,6 at-once 2
start
run 12m
show
retract
run 1h
show
resume 1
