# The approvers order everyone back after the rollout is complete.
fleet 4
plan waves 1,3
host 2 reboots
start
run 1h
show
rollback
run 1h
show
