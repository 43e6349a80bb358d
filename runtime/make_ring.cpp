#include "make_ring.hpp"

#include "poll_ring.hpp"
#include "uring_ring.hpp"

#include <sapwood/fmt_library.hpp>

#include <atomic>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <fcntl.h>
#include <string>
#include <string_view>
#include <system_error>
#include <unistd.h>

namespace sapwood {

namespace {

ring_kind kind_by_environment() {
    const char* const setting = std::getenv("SAPWOOD_RING");
    const std::string_view name = setting != nullptr ? setting : "";
    if (name.empty()) {
        return ring_kind::automatic;
    }
    if (name == "uring") {
        return ring_kind::io_uring;
    }
    if (name == "poll") {
        return ring_kind::poll;
    }
    throw std::system_error(
        EINVAL, std::generic_category(),
        fmt::format("SAPWOOD_RING is \"{}\"; set it to uring or poll, or unset it", name));
}

/// Where standard input, output or error is closed, the next descriptor that is opened takes its
/// number, and what somebody prints goes there: into the ring, or into a log. So the numbers are
/// taken first, by descriptors that can be neither read nor written (EBADF, as when closed).
void take_closed_standard_streams() noexcept {
    for (const int fd : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) {
        if (::fcntl(fd, F_GETFD) < 0) {
            (void)::open("/", O_PATH | O_CLOEXEC);
        }
    }
}

std::unique_ptr<ring> make_uring(const loop_options& options) {
    return std::make_unique<uring_ring>(uring_ring::options{
        .sq_entries = options.sq_entries,
        .cq_entries = options.cq_entries,
    });
}

std::unique_ptr<ring> make_poll(const loop_options& options, std::string reason) {
    return std::make_unique<poll_ring>(poll_ring::options{
        .sq_entries = options.sq_entries,
        .cq_entries = options.cq_entries,
        .reason = std::move(reason),
    });
}

/// Once in a process, however many loops it has. In one write, so that the line stays whole.
void warn_of_fallback(const std::string& why) {
    static std::atomic_flag has_warned;
    if (!has_warned.test_and_set()) {
        std::fputs(fmt::format("sapwood: {}. Using epoll and threads instead: everything works, "
                               "but each operation on a file costs about 10 us more; "
                               "SAPWOOD_RING=poll asks for that without this line.\n",
                               why)
                       .c_str(),
                   stderr);
    }
}

} // namespace

std::unique_ptr<ring> make_ring(const loop_options& options) {
    take_closed_standard_streams();
    switch (options.ring == ring_kind::automatic ? kind_by_environment() : options.ring) {
    case ring_kind::io_uring:
        return make_uring(options);
    case ring_kind::poll:
        return make_poll(options, {});
    case ring_kind::automatic:
        break;
    }
    try {
        return make_uring(options);
    } catch (const std::system_error& refused) {
        if (refused.code().value() == EMFILE || refused.code().value() == ENFILE) {
            throw; // the other ring needs descriptors too
        }
        warn_of_fallback(refused.what());
        return make_poll(options, refused.what());
    }
}

} // namespace sapwood
