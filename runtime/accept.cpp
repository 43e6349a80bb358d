#include <sapwood/accept.hpp>

#include <sapwood/fmt_library.hpp>
#include <sapwood/socket.hpp>

#include <liburing.h>
#include <new>
#include <unistd.h>

namespace sapwood::detail {

standing_accept::~standing_accept() {
    while (!pending_.empty()) {
        ::close(pending_.front());
        pending_.pop_front();
    }
}

void standing_accept::prepare(io_uring_sqe& sqe) noexcept {
    ::io_uring_prep_multishot_accept(&sqe, fd(), nullptr, nullptr, SOCK_CLOEXEC);
}

bool standing_accept::give(standing_wait& who) noexcept {
    if (pending_.empty()) {
        may_give_ = false;
        return false;
    }
    static_cast<accept_connection&>(who).set(pending_.front());
    pending_.pop_front();
    return true;
}

void standing_accept::progress(std::int32_t value, std::uint32_t) noexcept {
    if (value < 0) {
        return;
    }
    may_give_ = true;
    try {
        pending_.push_back(value);
    } catch (const std::bad_alloc&) {
        ::close(value);
        failed(ENOMEM);
        return;
    }
    wake_waiting();
    if (pending_.size() >= pending_max) {
        break_off();
    }
}

void standing_accept::rest(std::int32_t value, std::uint32_t flags) noexcept {
    if (value >= 0) {
        progress(value, flags);
    } else if (value != -ECANCELED && value != -EINTR && value != -EAGAIN && is_waited_for()) {
        failed(-value); // who asks later is told how it is then
    }
}

void standing_accept::drop(std::int32_t value, std::uint32_t) noexcept {
    if (value >= 0) {
        ::close(value);
    }
}

std::unique_ptr<standing_operation> accept_connection::make() const {
    return std::make_unique<standing_accept>(fd());
}

std::string accept_connection::describe() const {
    return "cannot accept on " + local_name(fd());
}

result<owned_fd> accept_connection::outcome() {
    if (const std::int32_t error = take_error()) {
        return std::error_code(error, std::generic_category());
    }
    return std::move(connection_);
}

} // namespace sapwood::detail
