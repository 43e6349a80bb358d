#include <sapwood/log_sink.hpp>

namespace sapwood {

task<> log_sink::sync() {
    co_return;
}

task<log_news> log_sink::tend(log_sink_requests) {
    co_return log_news();
}

bool log_sink::may_pass(std::error_code) const noexcept {
    return false;
}

bool log_sink::write_in_crash(std::span<const char>) noexcept {
    return false;
}

} // namespace sapwood
