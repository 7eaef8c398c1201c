-- Gets what the address says.
dofile(os.getenv("BENCH_REPORT"))
