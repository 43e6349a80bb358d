#include "run_meter.hpp"

#include <sys/resource.h>
#include <sys/time.h>

namespace bench {

namespace {

std::chrono::microseconds to_duration(const timeval& time) {
    return std::chrono::seconds{time.tv_sec} + std::chrono::microseconds{time.tv_usec};
}

} // namespace

void run_meter::start() {
    rusage usage{};
    getrusage(RUSAGE_SELF, &usage);
    user_ = to_duration(usage.ru_utime);
    system_ = to_duration(usage.ru_stime);
    start_ = std::chrono::steady_clock::now();
}

std::chrono::nanoseconds run_meter::wall() const {
    return std::chrono::steady_clock::now() - start_;
}

} // namespace bench
