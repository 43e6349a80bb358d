#include "http_session.hpp"

#include <sapwood/timeout.hpp>

#include <span>
#include <sys/socket.h>
#include <utility>

namespace sapwood::collector {

namespace {

/// What a peer may still have sent before it sees that it was refused.
constexpr std::size_t linger_bytes_max = 1u << 20;
constexpr clock::duration linger_for = std::chrono::seconds(2);

/// The connection is reset when it is closed: what the peer has not taken the kernel forgets.
void forget_unsent(peer_stream& of) noexcept {
    const ::linger at_once{.l_onoff = 1, .l_linger = 0};
    ::setsockopt(of.socket().fd(), SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once));
}

} // namespace

http_session::http_session(intake& shared, std::unique_ptr<peer_stream> to, source from,
                           browser_guard guard)
    : connection(shared),
      stream_(std::move(to)),
      source_(std::move(from)),
      guard_(guard),
      parser_(shared.limits.http),
      answers_(shared) {}

task<> http_session::run() {
    try {
        co_await converse();
    } catch (const cancelled&) {
        if (!is_expired() || stage_ == stage::idle) {
            if (stage_ == stage::sending && !intake_.is_draining) {
                forget_unsent(*stream_); // others have its place
            }
            throw;
        }
    }
    if (is_expired() && stage_ == stage::sending) {
        // It has had its time, and perhaps a part of an answer: nothing can be said any more.
        forget_unsent(*stream_);
    } else {
        if (is_expired()) {
            expire_now();
        }
        co_await last_words();
    }
    co_await stream_->close();
}

/// Takes what comes until the peer ends, or nothing more is to be said.
task<> http_session::converse() {
    for (;;) {
        if (!has_more_) {
            wait_for_bytes();
            if (stage_ == stage::idle && intake_.is_draining) {
                co_return;
            }
            received piece = co_await stream_->receive();
            if (!piece) {
                end_in_the_middle();
                co_return;
            }
            note_heard();
            std::string_view input = piece.text();
            if (!rest_.empty()) {
                rest_ += input;
                input = rest_;
                piece = received();
            }
            advance(input);
            keep(input);
        } else {
            if (is_held_back_) [[unlikely]] {
                co_await take_long();
                is_held_back_ = false;
            }
            std::string_view input = rest_;
            advance(input);
            keep(input);
        }
        if (!blocked_.empty()) [[unlikely]] {
            co_await give_blocked();
        }
        for (answers_.settle(); answers_.has_pending(); answers_.settle()) {
            const pending_answer& next = answers_.awaited();
            pipeline& log = next.log->log();
            if (!answers_.bytes().empty() && log.health().is_degraded()) {
                // It may take long: what others have acknowledged goes first.
                stage_ = stage::sending;
                set_deadline(intake_.limits.answer);
                co_await stream_->write_all(std::span<const char>(answers_.bytes()));
                answers_.sent();
            }
            stage_ = stage::settling;
            set_deadline(intake_.limits.acknowledgement);
            std::error_code how;
            if (next.ack == ack_level::durable) {
                const auto got = co_await as_result(log.durable(next.last));
                how = got.error();
            } else {
                const auto got = co_await as_result(log.written(next.last));
                how = got.error();
            }
            if (how == std::errc::operation_canceled) {
                throw cancelled{};
            }
        }
        if (!answers_.bytes().empty()) {
            stage_ = stage::sending;
            set_deadline(intake_.limits.answer);
            co_await stream_->write_all(std::span<const char>(answers_.bytes()));
            answers_.sent();
        }
        if (is_closing_ && !is_held_back_) {
            co_return;
        }
    }
}

/// Records for which there was no room wait for it, in order.
task<> http_session::give_blocked() {
    stage_ = stage::settling;
    set_deadline(intake_.limits.acknowledgement);
    // Behind it may stand what the rest of the input was told.
    pending_answer& answer = answers_.last_waiting();
    try {
        for (record& each : std::span(blocked_).subspan(blocked_from_)) {
            const std::size_t size = each.message().size();
            const lsn place = co_await answer.log->log().append(std::move(each));
            note_given(answer, place, size);
        }
        answer.is_given = true;
    } catch (const std::system_error& failure) {
        answer.status = 503;
        answer.text = failure.code().message();
    }
    std::vector<record>().swap(blocked_);
    count_blocked(nullptr);
}

/// What is there is sent, if the client takes it, and then nothing more.
task<> http_session::last_words() {
    forget_deadline();
    const auto until = saturating_add(event_loop::current().now(), intake_.limits.answer);
    try {
        if (const auto bytes = std::span<const char>(answers_.bytes()); !bytes.empty()) {
            co_await sapwood::deadline(until, stream_->write_all(bytes));
        }
    } catch (const std::system_error&) {
        forget_unsent(*stream_);
        co_return;
    }
    if (is_cut_ || ends_with_collector_) {
        co_await linger();
    }
}

/// A close while bytes of the peer's are unread would reset the connection, and the peer might
/// never see why.
task<> http_session::linger() {
    try {
        co_await stream_->shutdown_write();
        const auto until = saturating_add(event_loop::current().now(), linger_for);
        for (std::size_t seen = 0; seen < linger_bytes_max;) {
            const received piece = co_await sapwood::deadline(until, stream_->receive());
            if (!piece) {
                break;
            }
            seen += piece.bytes().size();
        }
    } catch (const std::system_error&) {
        // It is gone, or has had its time.
    }
}

} // namespace sapwood::collector
