-- Posts one event over and over; each answer is one event on Kafka.
wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"
wrk.body = '{"component":"api-rest","version":"1.2.3","environment":"develop",'
    .. '"responsible":"Jane Doe <jane@example.com>","stage":"deploy","status":"succeeded",'
    .. '"details":{"commit":"0a1b2c3d4e5f60718293a4b5c6d7e8f901234567","seconds":12.5}}'

dofile(os.getenv("BENCH_REPORT"))
