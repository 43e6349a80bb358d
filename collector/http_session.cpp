#include "http_session.hpp"

#include "http_status.hpp"
#include "metrics.hpp"

#include <sapwood/timeout.hpp>

#include <algorithm>
#include <charconv>
#include <fmt/format.h>
#include <iterator>
#include <span>
#include <utility>

namespace sapwood::collector {

namespace {

constexpr std::string_view text_type = "text/plain; charset=utf-8";

/// What a peer may still have sent before it sees that it was refused.
constexpr std::size_t linger_bytes_max = 1u << 20;
constexpr clock::duration linger_for = std::chrono::seconds(2);

} // namespace

http_session::http_session(intake& shared, std::unique_ptr<stream> to, source from, bool is_guarded)
    : intake_(shared),
      stream_(std::move(to)),
      source_(std::move(from)),
      is_guarded_(is_guarded),
      parser_(shared.limits.http) {}

task<> http_session::run() {
    try {
        co_await converse();
    } catch (const cancelled&) {
        if (!is_expired() || is_idle_ || is_closing_) {
            hold(0);
            throw;
        }
    }
    if (is_expired() && !is_closing_) {
        is_closing_ = true;
        is_cut_ = true;
        if (unanswered_ != 0) {
            const unsigned waiting = std::exchange(unanswered_, 0);
            for (unsigned i = 0; i < waiting; ++i) {
                refuse(503, "the record is not on disk yet: it may be in the log or not");
            }
        } else {
            refuse(408, "the request did not come in time");
        }
    }
    hold(0);
    set_deadline(intake_.limits.answer);
    co_await send();
    if (is_cut_) {
        co_await linger();
    }
    co_await stream_->close();
}

/// Takes what comes until the peer ends, or nothing more is to be said.
task<> http_session::converse() {
    while (!is_closing_) {
        is_idle_ = pending_.empty() && !parser_.is_in_request();
        if (is_idle_ && intake_.is_draining) {
            co_return;
        }
        if (is_idle_) {
            set_deadline(intake_.limits.idle);
        }
        received piece = co_await stream_->receive();
        if (!piece) {
            if (!is_idle_) {
                is_closing_ = true;
                refuse(400, "the request ends in the middle");
            }
            co_return;
        }
        if (is_idle_) {
            set_deadline(intake_.limits.head);
            is_idle_ = false;
        }
        std::string_view input = piece.text();
        if (!pending_.empty()) {
            pending_ += input;
            input = pending_;
            piece = received();
        }
        bool goes_on = true;
        while (goes_on) {
            co_await handle(input, goes_on);
        }
        if (parser_.is_in_request()) {
            parser_.keep_body();
        }
        if (input.empty()) {
            pending_.clear();
        } else {
            pending_ = std::string(input);
        }
        hold(parser_.body().size());
        piece = received();
        if (unanswered_ != 0 || !out_.empty()) {
            co_await acknowledge();
            co_await send();
        }
    }
}

/// One step of a request.
task<> http_session::handle(std::string_view& input, bool& goes_on) {
    switch (parser_.next(input)) {
    case http_parser::step::need_more:
        goes_on = false;
        break;
    case http_parser::step::head:
        set_deadline(intake_.limits.body);
        co_await on_head(!input.empty());
        break;
    case http_parser::step::done:
        co_await on_request();
        break;
    case http_parser::step::failed:
        co_await acknowledge();
        is_closing_ = true;
        is_cut_ = true;
        refuse(parser_.status(), parser_.reason());
        break;
    }
    if (is_closing_) {
        goes_on = false;
        input = {};
    }
}

/// The head is there, and a body is to come.
task<> http_session::on_head(bool is_body_here) {
    plan_ = plan_for(parser_.head(), intake_, is_guarded_);
    has_plan_ = true;
    if (plan_.what != http_action::take) {
        parser_.drop_body();
    }
    if (!parser_.head().expects_continue) {
        co_return;
    }
    co_await acknowledge();
    if (plan_.what == http_action::refuse) {
        // Whether the body comes nobody knows.
        is_closing_ = true;
        is_cut_ = true;
        refuse(plan_.status, plan_.reason);
    } else if (!is_body_here) {
        out_ += "HTTP/1.1 100 Continue\r\n\r\n";
        co_await send();
    }
}

task<> http_session::on_request() {
    if (!std::exchange(has_plan_, false)) {
        plan_ = plan_for(parser_.head(), intake_, is_guarded_);
    }
    ++intake_.counts.requests;
    if (!parser_.head().keeps_alive || intake_.is_draining) {
        is_closing_ = true;
    }
    if (plan_.what == http_action::take) {
        co_await take_records();
        co_return;
    }
    co_await acknowledge();
    switch (plan_.what) {
    case http_action::health:
        answer_text(200, "alive\n");
        break;
    case http_action::metrics:
        answer_text(200, metrics_page(intake_));
        break;
    case http_action::ready:
        if (intake_.is_draining) {
            answer_text(503, "draining\n");
        } else if (const named_log* const bad = intake_.refusing_log()) {
            answer_text(503, fmt::format("log {}: {}\n", bad->name(), bad->log().health().text));
        } else {
            answer_text(200, "ready\n");
        }
        break;
    case http_action::say:
        append_answer(plan_.said);
        break;
    default:
        refuse(plan_.status, plan_.reason);
        break;
    }
}

task<> http_session::take_records() {
    named_log& log = *plan_.log;
    if (unanswered_ != 0 && (acked_log_ != &log || acked_at_ != plan_.ack)) {
        co_await acknowledge();
    }
    if (must_come_again()) {
        co_await acknowledge();
        refuse(503, error_);
        co_return;
    }
    decoded_.clear();
    decoded_.records = intake_.take_records();
    decode();
    auto records = std::move(decoded_.records);
    if (decoded_.status == 0 && !is_within_rate(records.size())) {
        decoded_.refuse(429, "more records come than this token is for");
    }
    if (decoded_.status != 0) {
        intake_.keep_records(std::move(records));
        co_await acknowledge();
        refuse(decoded_.status, decoded_.error);
        co_return;
    }
    acked_log_ = &log;
    acked_at_ = plan_.ack;
    set_deadline(intake_.limits.acknowledgement);
    ++unanswered_;
    std::error_code refused;
    try {
        for (record& each : records) {
            intake_.counts.record_bytes += each.message().size();
            acked_place_ = co_await log.log().append(std::move(each));
            ++intake_.counts.records;
        }
    } catch (const std::system_error& failure) {
        refused = failure.code();
    }
    intake_.keep_records(std::move(records));
    if (refused) {
        --unanswered_;
        co_await acknowledge();
        refuse(503, refused.message());
    } else if (is_closing_) {
        co_await acknowledge();
    }
}

/// Waits until the log has got as far as the requests want that have no answer yet, and writes
/// their answers.
task<> http_session::acknowledge() {
    if (unanswered_ == 0) {
        co_return;
    }
    std::error_code how;
    set_deadline(intake_.limits.acknowledgement);
    if (acked_at_ == ack_level::durable) {
        const auto got = co_await as_result(acked_log_->log().durable(acked_place_));
        how = got.error();
    } else if (acked_at_ == ack_level::written) {
        const auto got = co_await as_result(acked_log_->log().written(acked_place_));
        how = got.error();
    }
    if (how == std::errc::operation_canceled) {
        throw cancelled{};
    }
    unsigned left = std::exchange(unanswered_, 0);
    const bool closes = std::exchange(is_closing_, false);
    for (; left > 0; --left) {
        is_closing_ = closes && left == 1;
        if (how) {
            refuse(503, how.message());
        } else {
            append_answer(plan_.as->success(acked_at_, {}));
        }
    }
    is_closing_ = closes;
}

task<> http_session::send() {
    if (out_.empty()) {
        co_return;
    }
    set_deadline(intake_.limits.answer);
    co_await stream_->write_all(std::span<const char>(out_));
    out_.clear();
    if (parser_.is_in_request()) {
        set_deadline(parser_.is_in_body() ? intake_.limits.body : intake_.limits.head);
    }
}

/// A close while bytes of the peer's are unread would reset the connection, and the peer might
/// never see why.
task<> http_session::linger() {
    forget_deadline();
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

// --- what is to be done ---

/// Whether no more records can be taken now; error_ says why.
bool http_session::must_come_again() {
    if (intake_.is_draining) {
        error_ = "this collector is about to end";
    } else if (const log_health& health = plan_.log->log().health(); health.is_degraded()) {
        error_ = fmt::format("the log takes no records now: {}", health.reason.message());
    } else if (plan_.log->is_nearly_full()) {
        error_ = "more records come than the log can take";
    } else if (intake_.counts.held_bytes - held_ > intake_.limits.held_bytes_max) {
        error_ = "too many bodies are under way";
    } else {
        return false;
    }
    return true;
}

bool http_session::is_within_rate(std::size_t records) {
    if (!intake_.access.needs_token()) {
        return true;
    }
    auto* const who = intake_.access.find(parser_.head().authorization);
    return who == nullptr || // it was its turn when the head came
           access_rules::allows(*who, records, event_loop::current().now());
}

/// The request's records, or what is wrong.
void http_session::decode() {
    const auto plain = intake_.plain.undo(plan_.coding, parser_.body());
    if (plain.status != 0) {
        decoded_.refuse(plain.status, plain.reason);
    } else {
        plan_.as->decode({.head = parser_.head(),
                          .body = plain.text,
                          .log = *plan_.log,
                          .from = source_,
                          .shared = intake_},
                         decoded_);
    }
    intake_.plain.trim();
}

// --- answers ---

void http_session::refuse(unsigned status, std::string_view why) {
    std::string body;
    append_answer(plan_.as->failure(status, why, body));
}

void http_session::answer_text(unsigned status, std::string_view text) {
    append_answer({.status = status, .type = text_type, .body = text});
}

void http_session::append_answer(const http_reply& reply) {
    const unsigned status = reply.status;
    count(status);
    out_ += "HTTP/1.1 ";
    out_ += status_line(status);
    out_ += "\r\n";
    out_ += intake_.date_field();
    out_ += reply.fields;
    if (!reply.type.empty()) {
        out_ += "Content-Type: ";
        out_ += reply.type;
        out_ += "\r\n";
    }
    if (status != 204) {
        out_ += "Content-Length: ";
        char digits[20];
        const auto end = std::to_chars(std::begin(digits), std::end(digits), reply.body.size());
        out_.append(digits, end.ptr);
        out_ += "\r\n";
    }
    if (status == 503 || status == 429) {
        out_ += "Retry-After: 1\r\n";
    }
    if (status == 401) {
        out_ += "WWW-Authenticate: Bearer\r\n";
    }
    if (status == 405) {
        out_ += "Allow: POST\r\n";
    }
    if (is_closing_) {
        out_ += "Connection: close\r\n";
    } else if (parser_.head().is_http_1_0) {
        out_ += "Connection: keep-alive\r\n";
    }
    out_ += "\r\n";
    if (parser_.head().method != http_method::head) {
        out_ += reply.body;
    }
}

void http_session::count(unsigned status) noexcept {
    collector_counts& counts = intake_.counts;
    ++(status < 300   ? counts.answers_well
       : status < 500 ? counts.answers_refused
                      : counts.answers_unavailable);
}

/// How many bytes of a body it holds now.
void http_session::hold(std::size_t bytes) noexcept {
    intake_.counts.held_bytes += bytes;
    intake_.counts.held_bytes -= std::exchange(held_, bytes);
}

} // namespace sapwood::collector
