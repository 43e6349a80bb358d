#include "tls_handshake.hpp"

#include <sapwood/errors.hpp>

#include <fmt/format.h>
#include <sys/socket.h>
#include <utility>

namespace sapwood::collector {

namespace {

/// A client that speaks HTTP to a port with TLS can read this.
constexpr std::string_view plain_answer =
    "HTTP/1.1 400 Bad Request\r\nContent-Type: application/json\r\nConnection: close\r\n"
    "Content-Length: 67\r\n\r\n"
    R"({"status":"0","result":"this port speaks TLS: say https, not http"})";
static_assert(plain_answer.size() - plain_answer.find('{') == 67);

} // namespace

tls_handshake::tls_handshake(intake& shared, connections& all, std::unique_ptr<stream> peer,
                             std::shared_ptr<const tls_context> with, tls_use use, source from,
                             session_maker then)
    : connection(shared),
      all_(all),
      use_(use),
      tls_(std::make_unique<tls_stream>(std::move(peer), std::move(with), use)),
      source_(std::move(from)),
      then_(std::move(then)) {
    tls_->count_truncations(shared.gate.tls_truncated);
    set_deadline(shared.tls_handshake);
}

task<> tls_handshake::run() {
    std::error_code why;
    std::string text;
    bool was_cancelled = false;
    try {
        co_await tls_->handshake();
    } catch (const cancelled&) {
        was_cancelled = true;
    } catch (const std::system_error& failure) {
        why = failure.code();
        text = failure.what();
    }
    if (was_cancelled) {
        if (is_expired()) {
            ++intake_.gate.failures_of({});
        }
        co_await tls_->close();
        throw cancelled{};
    }
    if (why) {
        co_await refuse(why, text);
        co_return;
    }
    ++intake_.gate.tls_handshakes;
    intake_.gate.tls_resumed += tls_->is_resumed() ? 1 : 0;
    if (intake_.is_draining) { // as those that wait are
        co_await tls_->close();
        co_return;
    }
    if (const std::string name = tls_->peer_name(); !name.empty()) {
        source_.name += " cert=" + name;
    }
    const peer_id who = source_.who;
    all_.hand_over(then_(std::make_unique<peer_stream>(std::move(tls_)), std::move(source_)), who);
}

task<> tls_handshake::refuse(std::error_code why, const std::string& text) {
    ++intake_.gate.failures_of(why);
    if (why != tls_errc::truncated) { // who only looks whether somebody listens is no news
        intake_.tell(fmt::format("{} was not let in: TLS: {}", source_.name, text));
    }
    if (why == tls_errc::plain_http && use_ == tls_use::http) {
        co_await tls_->beneath().write_all(plain_answer);
    }
    const bool speaks_no_tls = why == tls_errc::not_tls || why == tls_errc::plain_http ||
                               why == tls_errc::truncated; // less than a handshake begins with
    if (use_ == tls_use::one_way && speaks_no_tls) {
        // Who sends lines without TLS, and listens for nothing, would take an end for a good one.
        const ::linger at_once{.l_onoff = 1, .l_linger = 0};
        ::setsockopt(tls_->beneath().fd(), SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once));
    }
    co_await tls_->close();
}

} // namespace sapwood::collector
