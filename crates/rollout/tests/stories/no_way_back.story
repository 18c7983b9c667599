# A plan without a way back: hosts kept no old versions, so not even its approvers can order them back.
fleet 3
plan waves 1,2 rollback never
start
run 1h
rollback
show
