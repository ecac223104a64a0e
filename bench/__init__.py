"""What the service costs and how fast it is, measured against what a user would pick instead.

__main__      the command line: the benchmark, its quick form, the soak
plan          which loads are run, against whom, before which platform
candidates    who is measured, and the command line that starts each
processes     starting, pinning and stopping them; their CPU time and memory
requests      the ids of a load and the bytes of its requests
load          wrk, or client.py where it is missing; what it reports
client        the same load in Python; also the burst, which wrk cannot do
measurements  one measured run of one candidate
summary       medians, spread, ratios, and the targets
report        latest.json, the tables, docs/performance.md
plots         the same as SVG
soak          mixed load for minutes, and whether memory grows
peers/        the candidates that are written for the comparison
"""
