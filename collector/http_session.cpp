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

constexpr std::string_view json_type = "application/json";
constexpr std::string_view text_type = "text/plain; charset=utf-8";
constexpr std::string_view success_body = R"({"status":"1","result":"success"})";

/// What a peer may still have sent before it sees that it was refused.
constexpr std::size_t linger_bytes_max = 1u << 20;
constexpr clock::duration linger_for = std::chrono::seconds(2);

/// The value of `name` in `a=b&name=value`; empty where there is none.
std::string_view parameter(std::string_view query, std::string_view name) noexcept {
    while (!query.empty()) {
        const auto end = std::min(query.find('&'), query.size());
        const std::string_view pair = query.substr(0, end);
        query.remove_prefix(std::min(end + 1, query.size()));
        if (pair.size() > name.size() && pair.starts_with(name) && pair[name.size()] == '=') {
            return pair.substr(name.size() + 1);
        }
    }
    return {};
}

} // namespace

http_session::http_session(intake& shared, std::unique_ptr<peer_stream> to, source from,
                           bool is_guarded)
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
                answer(503, "the record is not on disk yet: it may be in the log or not");
            }
        } else {
            answer(408, "the request did not come in time");
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
                answer(400, "the request ends in the middle");
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
        answer(parser_.status(), parser_.reason());
        break;
    }
    if (is_closing_) {
        goes_on = false;
        input = {};
    }
}

/// The head is there, and a body is to come.
task<> http_session::on_head(bool is_body_here) {
    plan_ = plan_for(parser_.head());
    has_plan_ = true;
    if (plan_.what != action::take) {
        parser_.drop_body();
    }
    if (!parser_.head().expects_continue) {
        co_return;
    }
    co_await acknowledge();
    if (plan_.what == action::refuse) {
        // Whether the body comes nobody knows.
        is_closing_ = true;
        is_cut_ = true;
        answer(plan_.status, plan_.reason);
    } else if (!is_body_here) {
        out_ += "HTTP/1.1 100 Continue\r\n\r\n";
        co_await send();
    }
}

task<> http_session::on_request() {
    if (!std::exchange(has_plan_, false)) {
        plan_ = plan_for(parser_.head());
    }
    ++intake_.counts.requests;
    if (!parser_.head().keeps_alive || intake_.is_draining) {
        is_closing_ = true;
    }
    if (plan_.what == action::take) {
        co_await take_records();
        co_return;
    }
    co_await acknowledge();
    switch (plan_.what) {
    case action::health:
        answer_text(200, "alive\n");
        break;
    case action::metrics:
        answer_text(200, metrics_page(intake_));
        break;
    case action::ready:
        if (intake_.is_draining) {
            answer_text(503, "draining\n");
        } else if (const named_log* const bad = intake_.refusing_log()) {
            answer_text(503, fmt::format("log {}: {}\n", bad->name(), bad->log().health().text));
        } else {
            answer_text(200, "ready\n");
        }
        break;
    default:
        answer(plan_.status, plan_.reason);
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
        answer(503, error_);
        co_return;
    }
    auto records = intake_.take_records();
    if (!decode(records)) {
        intake_.keep_records(std::move(records));
        co_await acknowledge();
        answer(plan_.status, error_);
        co_return;
    }
    if (!is_within_rate(records.size())) {
        intake_.keep_records(std::move(records));
        co_await acknowledge();
        answer(429, "more records come than this token is for");
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
        answer(503, refused.message());
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
            answer(503, how.message());
        } else {
            append_answer(acked_at_ == ack_level::accepted ? 202 : 200, json_type, success_body);
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

http_session::plan http_session::plan_for(const http_head& head) {
    if (is_guarded_ && !head.origin.empty()) {
        return {.status = 403, .reason = "no web page may write to this log"};
    }
    if (is_guarded_ && !head.host.empty() && !intake_.access.is_own_host(head.host)) {
        return {.status = 421, .reason = "this collector is not the Host that was asked for"};
    }
    plan made = plan_for_path(head);
    if ((made.what == action::take || made.what == action::metrics) &&
        intake_.access.needs_token()) {
        const auto* const who = intake_.access.find(head.authorization);
        if (who == nullptr) {
            return {.status = 401, .reason = "a token is needed: Authorization: Bearer ..."};
        }
        if (made.log != nullptr && !may_write(who->token, made.log->name())) {
            return {.status = 403, .reason = "this token is not for this log"};
        }
    }
    return made;
}

http_session::plan http_session::plan_for_path(const http_head& head) {
    const std::string_view target = head.target;
    const auto question = std::min(target.find('?'), target.size());
    const std::string_view path = target.substr(0, question);
    const std::string_view query = target.substr(std::min(question + 1, target.size()));
    const bool is_get = head.method == http_method::get || head.method == http_method::head;
    if (path == "/log") {
        return plan_for_log(head, {}, query);
    }
    if (constexpr std::string_view prefix = "/log/"; path.starts_with(prefix)) {
        return plan_for_log(head, path.substr(prefix.size()), query);
    }
    if (path == "/healthz" || path == "/readyz" || path == "/metrics") {
        if (!is_get) {
            return {.status = 405, .reason = "GET this path"};
        }
        return {.what = path == "/healthz"  ? action::health
                        : path == "/readyz" ? action::ready
                                            : action::metrics};
    }
    return {.status = 404, .reason = "there is nothing at this path; POST records to /log"};
}

http_session::plan http_session::plan_for_log(const http_head& head, std::string_view name,
                                              std::string_view query) {
    named_log* const log = intake_.find(name);
    if (log == nullptr) {
        return {.status = 404, .reason = "there is no log of this name"};
    }
    plan made{.what = action::take, .log = log, .ack = log->default_ack()};
    if (head.method == http_method::get) {
        // Python's HTTPHandler: the whole query is the record.
        made.is_query = true;
        return made;
    }
    if (head.method != http_method::post && head.method != http_method::put) {
        return {.status = 405, .reason = "POST records to this path"};
    }
    if (const std::string_view wanted = parameter(query, "ack"); !wanted.empty()) {
        const auto level = parse_ack_level(wanted);
        if (!level) {
            return {.status = 400, .reason = "ack is durable, written or accepted"};
        }
        if (!log->can_tell(*level)) {
            return {.status = 400,
                    .reason = "nothing in this log is ever durable: ask for written"};
        }
        made.ack = *level;
    }
    if (head.coding != content_coding::identity) {
        return {.status = 415, .reason = "the body's Content-Encoding is not known here"};
    }
    if (head.type == media_type::protobuf || head.type == media_type::other) {
        return {.status = 415,
                .reason = "a body is application/json, application/x-ndjson or "
                          "application/x-www-form-urlencoded"};
    }
    return made;
}

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

/// The request's records, or false, with what is wrong in error_ and plan_.status.
bool http_session::decode(std::vector<record>& records) {
    json_decoder& decoder = intake_.decoder;
    const std::string_view body = parser_.body();
    const std::vector<json_item>* items = nullptr;
    if (plan_.is_query) {
        const std::string_view target = parser_.head().target;
        const auto question = std::min(target.find('?'), target.size());
        items = &decoder.decode_form(target.substr(std::min(question + 1, target.size())));
    } else if (const auto first = body.find_first_not_of(" \t\r\n");
               parser_.head().type == media_type::form && first != body.npos &&
               body[first] != '{' && body[first] != '[') {
        // curl says that everything is a form.
        items = &decoder.decode_form(body);
    } else {
        items =
            &decoder.decode(body, parser_.head().type == media_type::ndjson ? json_framing::lines
                                                                            : json_framing::any);
    }
    if (!decoder.error().empty()) {
        error_ = decoder.error();
        plan_.status = 400;
        return false;
    }
    records.reserve(items->size());
    for (const json_item& each : *items) {
        records.push_back(plan_.log->encode_json(source_, each.importance, each.json));
    }
    return true;
}

// --- answers ---

void http_session::answer(unsigned status, std::string_view result) {
    std::string body = R"({"status":"0",)";
    append_json_member("result", result, body);
    body += "}";
    append_answer(status, json_type, body);
}

void http_session::answer_text(unsigned status, std::string_view text) {
    append_answer(status, text_type, text);
}

void http_session::append_answer(unsigned status, std::string_view type, std::string_view body) {
    count(status);
    out_ += "HTTP/1.1 ";
    out_ += status_line(status);
    out_ += "\r\n";
    out_ += intake_.date_field();
    out_ += "Content-Type: ";
    out_ += type;
    out_ += "\r\nContent-Length: ";
    char digits[20];
    const auto end = std::to_chars(std::begin(digits), std::end(digits), body.size());
    out_.append(digits, end.ptr);
    if (status == 503 || status == 429) {
        out_ += "\r\nRetry-After: 1";
    }
    if (status == 401) {
        out_ += "\r\nWWW-Authenticate: Bearer";
    }
    if (status == 405) {
        out_ += "\r\nAllow: POST";
    }
    if (is_closing_) {
        out_ += "\r\nConnection: close";
    } else if (parser_.head().is_http_1_0) {
        out_ += "\r\nConnection: keep-alive";
    }
    out_ += "\r\n\r\n";
    if (parser_.head().method != http_method::head) {
        out_ += body;
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
