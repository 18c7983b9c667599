# Host 1's clock is a month ahead: by it the plan has expired. It waits and says so; it is neither failed nor clean.
fleet 2
plan waves 1,1
jump 1 30d
start
run 1h
show
jump 1 -30d
run 1h
show
