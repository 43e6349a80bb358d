#include <sapwood/listener.hpp>

#include <sapwood/accept.hpp>
#include <sapwood/fmt_library.hpp>
#include <sapwood/say.hpp>
#include <sapwood/sleep.hpp>

#include <cerrno>
#include <utility>

namespace sapwood {

namespace {

/// It is this connection that failed, not the listener: accept(2) tells of a new connection's
/// network errors as its own.
bool is_of_one_connection(int error) noexcept {
    switch (error) {
    case ECONNABORTED:
    case EPROTO:
    case ENETDOWN:
    case ENOPROTOOPT:
    case EHOSTDOWN:
    case ENONET:
    case EHOSTUNREACH:
    case ENETUNREACH:
    case ETIMEDOUT:
        return true;
    default:
        return false;
    }
}

bool is_for_want_of_room(int error) noexcept {
    return error == EMFILE || error == ENFILE || error == ENOBUFS || error == ENOMEM;
}

} // namespace

void listener::on_pause(std::function<void(std::string_view line)> report) {
    report_ = std::move(report);
}

task<owned_fd> listener::next_connection() {
    for (;;) {
        std::error_code failure;
        try {
            owned_fd got;
            if (lacks_multishot_) {
                got = co_await detail::accept_op(*this);
            } else {
                got = co_await detail::accept_connection(*this);
            }
            if (std::exchange(is_pausing_, false)) {
                say(fmt::format("accepting on {} goes on", local_endpoint().to_string()));
            }
            co_return got;
        } catch (const std::system_error& error) {
            if (error.code() == std::errc::invalid_argument && !lacks_multishot_) {
                lacks_multishot_ = true; // Linux before 5.19; or the next try tells
                continue;
            }
            if (!is_of_one_connection(error.code().value()) &&
                !is_for_want_of_room(error.code().value())) {
                throw;
            }
            failure = error.code();
        }
        if (!is_for_want_of_room(failure.value())) {
            continue;
        }
        if (!std::exchange(is_pausing_, true)) {
            using std::chrono::milliseconds;
            say(fmt::format("accepting on {} pauses: {}; clients wait. Trying again every {} ms{}",
                            local_endpoint().to_string(), failure.message(),
                            std::chrono::duration_cast<milliseconds>(accept_pause).count(),
                            failure.value() == EMFILE ? "; `ulimit -n` sets the limit" : ""));
        }
        {
            const use held(*this);
            co_await sleep_for(accept_pause);
        }
        if (!is_usable()) {
            throw std::system_error(make_error_code(std::errc::operation_canceled),
                                    "cannot accept on a socket that has been closed");
        }
    }
}

void listener::say(const std::string& line) const noexcept {
    if (report_) {
        report_(line);
    } else {
        detail::say(line);
    }
}

} // namespace sapwood
