#include <sapwood/file_log_sink.hpp>

#include <sapwood/assert.hpp>

namespace sapwood {

task<> file_log_sink::open() {
    file_.emplace(co_await file_sink::open({.path = path_, .mode = mode_}));
}

task<> file_log_sink::write(std::span<const char> lines) {
    SAPWOOD_ASSERT(file_.has_value(), "a file_log_sink was written to before it was opened");
    return file_->write(lines);
}

task<> file_log_sink::close() {
    SAPWOOD_ASSERT(file_.has_value(), "a file_log_sink was closed before it was opened");
    return file_->close();
}

} // namespace sapwood
