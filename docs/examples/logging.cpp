// Threads and tasks of a program log to one file.

#include <sapwood/logger.hpp>
#include <sapwood/run.hpp>
#include <sapwood/sleep.hpp>

#include <chrono>
#include <string>
#include <thread>

sapwood::task<> serve(const sapwood::logger& log) {
    for (int request = 1; request <= 3; ++request) {
        co_await sapwood::sleep_for(std::chrono::milliseconds(1));
        log.info("request {} took {:.3f} ms", request, 0.25 * request);
    }
    co_await log.flush(); // with the kernel now
}

int main(int argc, char** argv) {
    const sapwood::logger log{{.path = argc > 1 ? argv[1] : "app.log"}};
    const sapwood::logger db = log.child("db");
    db.set_level(sapwood::level::debug);

    std::thread worker([&] {
        const std::string user = "ann\n2026-11-22 forged line"; // stays one line
        db.debug("query by {}", user);
        db.warn("cache miss", sapwood::kv("key", "user:17"), sapwood::kv("age", 12.5));
    });
    sapwood::run(serve(log));
    worker.join();
} // the last logger is gone: everything is in the file, which is closed
