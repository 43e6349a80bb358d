#include <sapwood/memory_log_sink.hpp>

#include <algorithm>

namespace sapwood {

std::string log_memory::text() const {
    const std::lock_guard lock(mutex_);
    return text_;
}

std::uint64_t log_memory::lines_dropped() const {
    const std::lock_guard lock(mutex_);
    return dropped_;
}

void log_memory::append(std::string_view lines) {
    const std::lock_guard lock(mutex_);
    text_.append(lines);
    if (text_.size() <= 2 * bytes_max_) {
        return;
    }
    // A whole line more than bytes_max stays, if there is one.
    const auto newline = text_.rfind('\n', text_.size() - bytes_max_ - 1);
    const std::size_t cut = newline == std::string::npos ? 0 : newline + 1;
    dropped_ += static_cast<std::uint64_t>(
        std::count(text_.begin(), text_.begin() + static_cast<std::ptrdiff_t>(cut), '\n'));
    text_.erase(0, cut);
}

task<> memory_log_sink::open() {
    co_return;
}

task<> memory_log_sink::write(std::span<const char> lines) {
    to_->append({lines.data(), lines.size()});
    co_return;
}

task<> memory_log_sink::close() {
    co_return;
}

task<> callback_log_sink::open() {
    co_return;
}

task<> callback_log_sink::write(std::span<const char> lines) {
    call_({lines.data(), lines.size()});
    co_return;
}

task<> callback_log_sink::close() {
    co_return;
}

task<> null_log_sink::open() {
    co_return;
}

task<> null_log_sink::write(std::span<const char>) {
    co_return;
}

task<> null_log_sink::close() {
    co_return;
}

} // namespace sapwood
