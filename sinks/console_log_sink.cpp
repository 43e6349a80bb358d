#include <sapwood/console_log_sink.hpp>

#include "parts_kept.hpp"

#include <sapwood/poll.hpp>
#include <sapwood/shield.hpp>
#include <sapwood/timeout.hpp>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <fcntl.h>
#include <fmt/format.h>
#include <memory>
#include <new>
#include <string_view>
#include <sys/stat.h>
#include <unistd.h>
#include <utility>

namespace sapwood {

namespace {

/// Written at a time: a terminal takes its time for it.
constexpr std::size_t piece_bytes = 64u << 10;

/// Where the description is shared and may block, a write waits for room for so much only: a pipe
/// that is ready has it (PIPE_BUF).
constexpr std::size_t shared_piece_bytes = 4096;

/// How long a process that dies waits for a terminal that does not take its last words.
constexpr int crash_wait_ms = 500;
constexpr int crash_attempts_max = 100;

std::string_view environment(const char* name) noexcept {
    const char* const value = std::getenv(name);
    return value != nullptr ? value : "";
}

bool is_of_kind(int fd, mode_t kind) noexcept {
    struct ::stat status {};

    return ::fstat(fd, &status) == 0 && (status.st_mode & S_IFMT) == kind;
}

/// Not a ring, nor an epoll, which may have got the number of a standard output that was closed.
bool is_written_to(int fd) noexcept {
    return is_of_kind(fd, S_IFREG) || is_of_kind(fd, S_IFCHR) || is_of_kind(fd, S_IFIFO) ||
           is_of_kind(fd, S_IFSOCK);
}

bool is_non_blocking(int fd) noexcept {
    const int flags = ::fcntl(fd, F_GETFL);
    return flags >= 0 && (flags & O_NONBLOCK) != 0;
}

/// Where the last line ends that `text` has all of.
std::size_t whole_lines(std::string_view text) noexcept {
    return text.rfind('\n') + 1; // npos + 1 is 0
}

/// The same pipe or terminal with a description of its own; -1 where that cannot be had.
int reopen(int fd) {
    if (!is_of_kind(fd, S_IFIFO) && !is_of_kind(fd, S_IFCHR)) {
        return -1;
    }
    return ::open(fmt::format("/proc/self/fd/{}", fd).c_str(),
                  O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
}

} // namespace

// As https://no-color.org and https://bixense.com/clicolors have it.
bool shows_colour(int fd, log_colour setting) noexcept {
    if (setting != log_colour::automatic) {
        return setting == log_colour::always;
    }
    if (!environment("NO_COLOR").empty()) {
        return false;
    }
    const std::string_view force = environment("CLICOLOR_FORCE");
    if (!force.empty() && force != "0") {
        return true;
    }
    return environment("CLICOLOR") != "0" && environment("TERM") != "dumb" && ::isatty(fd) == 1;
}

console_log_sink::console_log_sink(const console_log_sink_options& options)
    : fd_(options.fd),
      was_open_(::fcntl(options.fd, F_GETFD) >= 0),
      give_up_after_(options.give_up_after),
      pattern_(options.pattern),
      zone_(options.zone),
      has_colour_(shows_colour(options.fd, options.colour)),
      untold_(std::make_unique<detail::parts_kept>(describe())) {}

console_log_sink::~console_log_sink() = default;

std::string console_log_sink::describe() const {
    return fd_ == STDOUT_FILENO   ? "standard output"
           : fd_ == STDERR_FILENO ? "standard error"
                                  : fmt::format("descriptor {}", fd_);
}

std::unique_ptr<log_layout> console_log_sink::default_form() const {
    return std::make_unique<text_layout>(
        text_layout_options{.pattern = pattern_, .zone = zone_, .colour = has_colour_});
}

task<> console_log_sink::open() {
    partial_ = 0;
    const int flags = ::fcntl(fd_, F_GETFL);
    if (!was_open_ || flags < 0 || (flags & O_ACCMODE) == O_RDONLY || !is_written_to(fd_)) {
        throw std::system_error(EBADF, std::generic_category(),
                                fmt::format("cannot log to {}: it is not open for writing; open "
                                            "it, or choose another output",
                                            describe()));
    }
    int fd = reopen(fd_);
    fd = fd >= 0 ? fd : ::fcntl(fd_, F_DUPFD_CLOEXEC, 3);
    if (fd < 0) {
        throw std::system_error(errno, std::generic_category(),
                                fmt::format("cannot log to {}", describe()));
    }
    if (is_of_kind(fd, S_IFSOCK)) {
        socket_ = stream(fd);
    } else {
        file_ = file(fd);
    }
    co_return;
}

task<> console_log_sink::open_in_child() {
    // The parent's objects may have been in the middle of anything: they are left as they are.
    for (const int parents : {file_.fd(), socket_.fd()}) {
        if (parents >= 0) {
            ::close(parents);
        }
    }
    std::construct_at(&file_);
    std::construct_at(&socket_);
    return open();
}

/// At least one byte, or why not.
task<result<std::size_t>> console_log_sink::write_some(std::span<const char> bytes) {
    if (socket_.is_open()) {
        co_return co_await as_result(timeout(give_up_after_, socket_.write_some(bytes)));
    }
    if (is_of_kind(file_.fd(), S_IFREG)) {
        co_return co_await as_result(file_.write_some(bytes));
    }
    // Never a write that has to wait: one of a shared description would hold a thread.
    while (true) {
        const auto ready = co_await as_result(timeout(give_up_after_, poll(file_, POLLOUT)));
        if (!ready.has_value()) {
            co_return ready.error();
        }
        if (!is_non_blocking(file_.fd())) {
            bytes = bytes.first(std::min(bytes.size(), shared_piece_bytes));
        }
        const auto got = co_await as_result(timeout(give_up_after_, file_.write_some(bytes)));
        if (got.error() != std::errc::resource_unavailable_try_again) {
            co_return got;
        }
    }
}

task<> console_log_sink::write(std::span<const char> lines) {
    const auto shielded = co_await shield();
    const std::string_view text(lines.data(), lines.size());
    std::size_t written = std::min(std::exchange(partial_, 0), lines.size());
    try {
        while (written < lines.size()) {
            const auto rest = lines.subspan(written);
            const auto got = co_await write_some(rest.first(std::min(rest.size(), piece_bytes)));
            if (!got.has_value()) {
                fail(got.error(), whole_lines(text.substr(0, written)));
            }
            written += *got;
        }
    } catch (const std::exception&) {
        rethrow(text.substr(0, written));
    }
}

/// The exception that is being handled, with how much is kept of what is written, whatever there is
/// no memory for. What is written of a line stays: the rest of it comes first the next time.
void console_log_sink::rethrow(std::string_view written) {
    const std::size_t kept = whole_lines(written);
    partial_ = written.size() - kept;
    try {
        throw;
    } catch (const std::bad_alloc&) {
        untold_->rethrow(kept);
    }
}

void console_log_sink::fail(std::error_code why, std::size_t kept) const {
    if (why == std::errc::broken_pipe || why == std::errc::io_error) {
        if (kept == 0) {
            throw sink_gone(why, fmt::format("cannot log to {}: nobody reads it", describe()));
        }
    }
    const bool is_stuck =
        why == std::errc::timed_out || why == std::errc::resource_unavailable_try_again;
    // Not "connection timed out".
    throw write_error(is_stuck ? make_error_code(std::errc::resource_unavailable_try_again) : why,
                      is_stuck ? fmt::format("{} takes nothing: a terminal is stopped, or the "
                                             "program behind a pipe does not read",
                                             describe())
                               : fmt::format("cannot log to {}", describe()),
                      kept);
}

task<> console_log_sink::close() {
    if (partial_ > 0 && file_.is_open() && is_non_blocking(file_.fd())) {
        (void)!::write(file_.fd(), "\n", 1); // what others write there is a line of its own
    }
    if (file_.is_open()) {
        co_await file_.close();
    }
    if (socket_.is_open()) {
        co_await socket_.close();
    }
}

bool console_log_sink::write_in_crash(std::span<const char> lines) noexcept {
    const int fd = file_.is_open() ? file_.fd() : fd_;
    std::string_view rest(lines.data(), lines.size());
    if (std::exchange(partial_, 0) > 0) {
        (void)!::write(fd, "\n", 1);
    }
    for (int attempts = 0; !rest.empty() && attempts < crash_attempts_max; ++attempts) {
        pollfd room{.fd = fd, .events = POLLOUT, .revents = 0};
        if (::poll(&room, 1, crash_wait_ms) == 0) {
            return false;
        }
        const auto written = ::write(fd, rest.data(), std::min(rest.size(), shared_piece_bytes));
        if (written < 0 && errno != EINTR && errno != EAGAIN) {
            return false;
        }
        if (written > 0) {
            rest.remove_prefix(static_cast<std::size_t>(written));
            attempts = 0;
        }
    }
    return rest.empty();
}

} // namespace sapwood
