# Host 1 prepares and waits for a lock when it is cut off; then the rollout is paused. When the lock is gone it has neither
# a lease nor the centre's word, and does not begin. Heard again, it gives up.
fleet 2
plan waves 1,1 lease 300 clearance 60
lock 1 15m
start
run 11m
part 1 30m
run 1m
pause
run 20m
show
run 30m
show
