# Host 1 and 2 are cut off after the point of no return. They finish, but nobody hears it: they are lost at their deadline
# and keep their places, so host 3 waits. When they are heard, they are proven, and host 3 goes.
fleet 4
plan waves 1,3 at-once 2 deadline 1200 bad 2
start
run 650s
part 1 40m
part 2 40m
part 3 2m
run 35m
show
run 1h
show
