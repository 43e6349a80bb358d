// The part of a session that does not wait: what comes, and what becomes of it.
#include "http_session.hpp"

#include "metrics.hpp"

#include <algorithm>
#include <chrono>
#include <fmt/format.h>
#include <span>
#include <utility>

namespace sapwood::collector {

namespace {

constexpr std::string_view over_quota = "more comes than this token is for";
constexpr std::string_view text_type = "text/plain; charset=utf-8";

/// In a second, of a body: it is slow where fewer come.
constexpr std::size_t slow_body_bytes = 8u << 10;

/// Of rest_: more memory is given back.
constexpr std::size_t usual_rest_bytes = 1u << 10;

http_plan refusal(const http_plan& asked, const char* why) noexcept {
    http_plan made;
    made.as = asked.as;
    made.status = 503;
    made.reason = why;
    return made;
}

} // namespace

// --- what comes ---

void http_session::wait_for_bytes() noexcept {
    if (!parser_.is_in_request() && rest_.empty()) {
        stage_ = stage::idle;
        set_deadline(intake_.limits.idle);
    } else if (stage_ != stage::reading) {
        stage_ = stage::reading;
        set_deadline(parser_.is_in_body() ? intake_.limits.body : intake_.limits.head);
    }
}

bool http_session::is_slow() const noexcept {
    if (stage_ == stage::sending) {
        return is_overdue(intake_.limits.answer);
    }
    if (stage_ != stage::reading || is_held_back_) {
        return false;
    }
    if (!parser_.is_in_body()) {
        return is_overdue(intake_.limits.head);
    }
    const auto takes = std::chrono::seconds(1 + parser_.body().size() / slow_body_bytes);
    return is_overdue(intake_.limits.body, takes);
}

bool http_session::may_go_on() noexcept {
    return !is_closing_ && !is_held_back_ && blocked_.empty() && !answers_.is_full();
}

/// Looks at requests until more of one has to come, or something has to be done first.
void http_session::advance(std::string_view& input) {
    has_more_ = false;
    while (may_go_on()) {
        switch (parser_.next(input)) {
        case http_parser::step::need_more:
            return;
        case http_parser::step::head:
            on_head(!input.empty());
            break;
        case http_parser::step::done:
            on_request();
            break;
        case http_parser::step::failed:
            is_cut_ = true;
            end_with(parser_.status(), parser_.reason());
            break;
        }
    }
    has_more_ = !is_closing_;
}

/// The memory that `input` is in is about to go: what was not looked at is kept.
void http_session::keep(std::string_view input) {
    if (is_closing_) {
        input = {};
    }
    if (parser_.is_in_request() || is_held_back_) {
        parser_.keep_body();
    } else {
        parser_.trim();
    }
    if (input.empty()) {
        has_more_ = is_held_back_;
        rest_.clear();
        if (rest_.capacity() > usual_rest_bytes) {
            std::string().swap(rest_);
        }
    } else if (input.size() != rest_.size()) {
        std::string kept(input);
        rest_.swap(kept);
    }
    const auto held_bytes = [this] {
        return rest_.size() + (is_held_back_ ? parser_.body().size() : parser_.held_bytes());
    };
    const std::size_t bytes = held_bytes();
    if (bytes > held_ && intake_.counts.held_bytes - held_ + bytes > intake_.limits.held_bytes_max)
        [[unlikely]] {
        refuse_rest();
    }
    hold(held_bytes());
}

/// There is no memory for the request that is under way.
void http_session::refuse_rest() {
    constexpr const char* why = "too many requests are under way";
    if (is_held_back_) {
        is_held_back_ = false;
        has_more_ = !rest_.empty();
        fail(503, why);
        parser_.trim();
        return;
    }
    if (has_plan_) {
        // Its end is known: it is answered then, and the connection goes on.
        plan_ = refusal(plan_, why);
        is_plan_good_ = false;
        parser_.drop_body();
        return;
    }
    is_cut_ = true;
    has_more_ = false;
    end_with(503, why);
    std::string().swap(rest_);
}

/// The peer sends no more.
void http_session::end_in_the_middle() {
    if (stage_ != stage::idle) {
        end_with(400, "the request ends in the middle");
    }
}

/// Its deadline is over.
void http_session::expire_now() {
    is_cut_ = true;
    if (stage_ == stage::settling && (answers_.has_pending() || !is_held_back_)) {
        answers_.give_up();
    } else if (is_held_back_) {
        is_closing_ = true;
        fail(503, "too many long requests are under way");
    } else {
        end_with(408, "the request did not come in time");
    }
}

/// The head is there, and a body is to come.
void http_session::on_head(bool is_body_here) {
    retry_after_seconds_ = 1;
    set_deadline(intake_.limits.body);
    make_plan();
    has_plan_ = true;
    if (plan_.what == http_action::take && must_come_again()) {
        plan_ = refusal(plan_, why_.c_str());
        is_plan_good_ = false;
    }
    if (plan_.what != http_action::take) {
        parser_.drop_body();
    }
    if (!parser_.head().expects_continue) {
        return;
    }
    if (plan_.what == http_action::refuse) {
        // Whether the body comes nobody knows.
        is_closing_ = true;
        is_cut_ = true;
        fail(plan_.status, plan_.reason);
    } else if (!is_body_here) {
        answers_.say_continue();
    }
}

void http_session::make_plan() {
    plan_ = plan_for(parser_.head(), intake_, guard_);
    // What is said may be another thing the next time.
    is_plan_good_ = plan_.what != http_action::say;
    planned_at_ = intake_.generation;
}

void http_session::on_request() {
    retry_after_seconds_ = 1;
    if (!std::exchange(has_plan_, false) &&
        !(parser_.is_repeated() && is_plan_good_ && planned_at_ == intake_.generation)) {
        make_plan();
    }
    ++intake_.counts.requests;
    if (!parser_.head().keeps_alive) {
        is_closing_ = true;
    } else if (intake_.is_draining) {
        is_closing_ = true;
        ends_with_collector_ = true;
    }
    const auto say_text = [this](unsigned status, std::string_view text) {
        answers_.say(form(), {.status = status, .type = text_type, .body = text});
    };
    switch (plan_.what) {
    case http_action::take:
        take_records();
        break;
    case http_action::health:
        say_text(200, "alive\n");
        break;
    case http_action::metrics:
        if (intake_.has_too_much_unsent()) [[unlikely]] {
            say_text(503, "too many answers are not taken yet\n");
        } else {
            answers_.say(form(), {.status = 200,
                                  .type = "text/plain; version=0.0.4; charset=utf-8",
                                  .body = metrics_page(intake_)});
        }
        break;
    case http_action::ready:
        if (intake_.is_draining) {
            say_text(503, "draining\n");
        } else if (const named_log* const bad = intake_.refusing_log()) {
            say_text(503, fmt::format("log {}: {}\n", bad->name(), bad->log().health().text));
        } else {
            say_text(200, ready_page(intake_));
        }
        break;
    case http_action::say:
        answers_.say(form(), plan_.said);
        break;
    case http_action::refuse:
        fail(plan_.status, plan_.reason);
        break;
    }
}

// --- records ---

void http_session::take_records() {
    const bool is_long = parser_.body().size() > intake::long_body_bytes;
    if (is_long || plan_.coding != content_coding::identity) {
        if (refused_by_now()) {
            return;
        }
    } else if (must_come_again()) {
        fail(503, why_);
        return;
    }
    if (is_long) [[unlikely]] {
        is_held_back_ = true;
        return;
    }
    body_decoding& with = intake_.usual;
    const std::size_t bytes = decode(with, intake::long_body_bytes);
    if (with.decoded.is_long) [[unlikely]] {
        is_held_back_ = true;
    } else if (pending_answer* const answer = answer_to(with.decoded, bytes)) {
        answer->is_given = give(with.decoded.items, *answer);
    }
    with.forget();
}

/// Whether nothing of it is taken, whatever it holds; then that is said.
bool http_session::refused_by_now() {
    if (must_come_again()) {
        fail(503, why_);
    } else if (is_share_used_up()) {
        fail(429, over_quota);
    } else {
        return false;
    }
    return true;
}

/// What the body holds, which is so many bytes without its compression. More than `wanted` is not
/// looked at. Nothing but `with` is changed: any thread, while the session waits.
std::size_t http_session::decode(body_decoding& with, std::size_t wanted) const {
    decoded_request& decoded = with.decoded;
    decoded.clear();
    const auto plain = with.plain.undo(plan_.coding, parser_.body(), wanted);
    if (plain.is_long) {
        decoded.is_long = true;
    } else if (plain.status != 0) {
        decoded.refuse(plain.status, plain.reason);
    } else {
        plan_.as->decode(
            {.head = parser_.head(), .body = plain.text, .log = *plan_.log, .with = with}, decoded);
    }
    return plain.text.size();
}

/// The answer to a request whose records are about to be given; null where it was refused.
pending_answer* http_session::answer_to(decoded_request& decoded, std::size_t bytes) {
    if (decoded.status == 0 && !is_within_quota(decoded.items.size(), bytes)) {
        decoded.refuse(429, over_quota);
    }
    if (decoded.status != 0) {
        fail(decoded.status, decoded.error);
        return nullptr;
    }
    pending_answer& answer = answers_.wait_for(form(), *plan_.as, *plan_.log, plan_.ack);
    answer.text.swap(decoded.reply);
    return &answer;
}

/// As many as there is room for; the rest is blocked. Whether that is none, and all were taken.
bool http_session::give(std::span<const json_item> items, pending_answer& answer) {
    named_log& log = *answer.log;
    const auto when = wall_clock::now();
    std::size_t given = 0;
    std::size_t bytes = 0;
    lsn last = lsn::none;
    for (const json_item& each : items) {
        const record_view made = log.encode_json(source_, each.importance, each.json, when);
        const lsn place = log.log().append_now(made);
        if (place == lsn::none) [[unlikely]] {
            break;
        }
        answer.first = answer.first == lsn::none ? place : answer.first;
        last = place;
        bytes += made.size();
        ++given;
    }
    if (given != 0) {
        answer.last = last;
        intake_.note_given(log, last, bytes, given);
    }
    return given == items.size() || give_records(items.subspan(given), answer);
}

/// The same as records of their own, which may wait.
bool http_session::give_records(std::span<const json_item> items, pending_answer& answer) {
    named_log& log = *answer.log;
    const auto when = wall_clock::now();
    std::vector<record> made;
    made.reserve(items.size());
    for (const json_item& each : items) {
        made.emplace_back(log.encode_json(source_, each.importance, each.json, when));
    }
    try {
        for (auto each = made.begin(); each != made.end(); ++each) {
            const std::size_t size = each->message().size();
            auto handing_over = log.log().append(std::move(*each));
            if (!handing_over.await_ready()) [[unlikely]] {
                blocked_.swap(made);
                blocked_from_ = static_cast<std::size_t>(each - blocked_.begin());
                count_blocked(answer.log);
                return false;
            }
            note_given(answer, handing_over.await_resume(), size);
        }
    } catch (const std::system_error& failure) {
        answer.status = 503;
        answer.text = failure.code().message();
        return false;
    }
    return true;
}

void http_session::note_given(pending_answer& answer, lsn place, std::size_t bytes) {
    answer.last = place;
    if (answer.first == lsn::none) {
        answer.first = place;
    }
    intake_.note_given(*answer.log, place, bytes);
}

/// Whether no more records can be taken now; why_ says why.
bool http_session::must_come_again() {
    named_log& log = *plan_.log;
    if (intake_.is_draining) {
        why_ = "this collector is about to end";
    } else if (log.refusal()) [[unlikely]] {
        why_ = "the log takes no records now: " + log.refusal().message();
    } else if (log.is_full()) {
        why_ = "more records come than the log can take";
    } else if (log.is_over_blocked()) {
        why_ = "too many records wait for room in the log";
    } else if (intake_.has_too_much_unsent()) [[unlikely]] {
        why_ = "too many answers are not taken yet";
    } else {
        return false;
    }
    return true;
}

/// Nothing more may come, whatever the body holds: it need not be looked at.
bool http_session::is_share_used_up() {
    auto* const who =
        intake_.access.needs_token() ? intake_.access.find(parser_.head().authorization) : nullptr;
    if (who == nullptr) {
        return false;
    }
    const auto now = event_loop::current().now();
    return is_over_quota(std::max(who->records.wait_for(1, now), who->bytes.wait_for(1, now)));
}

bool http_session::is_within_quota(std::size_t records, std::size_t bytes) {
    if (!intake_.access.needs_token()) {
        return true;
    }
    auto* const who = intake_.access.find(parser_.head().authorization);
    if (who == nullptr) { // it was its turn when the head came
        return true;
    }
    return !is_over_quota(
        access_rules::wait_for(*who, records, bytes, event_loop::current().now()));
}

/// `wait`: until it would not be.
bool http_session::is_over_quota(clock::duration wait) {
    if (wait == clock::duration::zero()) {
        return false;
    }
    retry_after_seconds_ = static_cast<std::uint32_t>(
        std::min<std::int64_t>(std::chrono::ceil<std::chrono::seconds>(wait).count(), 86400));
    ++intake_.gate.over_quota;
    return true;
}

// --- answers ---

answer_form http_session::form() const noexcept {
    return {.is_head = parser_.head().method == http_method::head,
            .is_http_1_0 = parser_.head().is_http_1_0,
            .closes = is_closing_,
            .retry_after_seconds = retry_after_seconds_,
            .allow = plan_.allow};
}

/// What is wrong with the request that is looked at.
void http_session::fail(unsigned status, std::string_view why) {
    answers_.fail(form(), *plan_.as, status, why);
}

/// The same of a request that is not whole, and behind which nothing is said any more.
void http_session::end_with(unsigned status, std::string_view why) {
    is_closing_ = true;
    const http_interface& as = has_plan_ ? *plan_.as : native_interface;
    answers_.fail({.closes = true}, as, status, why);
}

/// Those of blocked_ are counted in `of`; in none where it is null.
void http_session::count_blocked(named_log* of) noexcept {
    if (blocked_log_ != nullptr) {
        blocked_log_->count_blocked(0, std::exchange(blocked_bytes_, 0));
    }
    blocked_log_ = of;
    if (of != nullptr) {
        blocked_bytes_ = sizeof(record) * blocked_.capacity();
        for (const record& each : std::span(blocked_).subspan(blocked_from_)) {
            blocked_bytes_ += each.message().size();
        }
        of->count_blocked(blocked_bytes_, 0);
    }
}

/// How many bytes of requests that are not whole it has now.
void http_session::hold(std::size_t bytes) noexcept {
    intake_.counts.held_bytes += bytes;
    intake_.counts.held_bytes -= std::exchange(held_, bytes);
}

} // namespace sapwood::collector
