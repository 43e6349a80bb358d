#include "memory_case.hpp"

#include <ctime>
#include <fstream>
#include <stdexcept>

#include <unistd.h>

#include <fmt/format.h>

namespace bench {

std::uint64_t resident_bytes() {
    std::ifstream statm{"/proc/self/statm"};
    std::uint64_t all = 0;
    std::uint64_t resident = 0;
    if (!(statm >> all >> resident)) {
        throw std::runtime_error("the kernel does not tell the memory in /proc/self/statm");
    }
    return resident * static_cast<std::uint64_t>(sysconf(_SC_PAGESIZE));
}

std::chrono::nanoseconds cpu_time() {
    timespec time{};
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
    return std::chrono::seconds{time.tv_sec} + std::chrono::nanoseconds{time.tv_nsec};
}

sleepers_cost sleepers_watch::cost() const {
    if (awake_ != job_.tasks) {
        throw std::runtime_error(fmt::format("{} of {} sleepers woke", awake_, job_.tasks));
    }
    if (!were_together_) {
        throw std::runtime_error("not all tasks were asleep at once: let them sleep longer");
    }
    // Where memory is used again, as the second time, there may be nothing new.
    const bool grew = bytes_asleep_ > bytes_before_;
    return {.bytes = grew ? bytes_asleep_ - bytes_before_ : 0, .cpu = cpu_time() - cpu_before_};
}

} // namespace bench
