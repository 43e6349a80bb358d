#include <sapwood/file_log_sink.hpp>

namespace sapwood {

task<> file_log_sink::open() {
    file_.emplace(co_await file_sink::open({.path = path_, .mode = mode_}));
}

task<> file_log_sink::write(std::span<const char> lines) {
    return file_->write(lines);
}

task<> file_log_sink::close() {
    return file_->close();
}

} // namespace sapwood
