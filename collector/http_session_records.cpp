// The part of a session that gives records to a log: what a body holds, whether it may be taken,
// and what there is no room for.
#include "http_session.hpp"

#include <algorithm>
#include <chrono>
#include <span>
#include <utility>

namespace sapwood::collector {

namespace {

/// More of them are given to their log in slices, however short the body: some 0.7 ms of the loop.
constexpr std::size_t records_at_once_max = 8192;

/// Of what goes into a log, before its form is put around it.
std::size_t bytes_of(std::span<const json_item> items) noexcept {
    std::size_t sum = 0;
    for (const json_item& each : items) {
        sum += each.json.size();
    }
    return sum;
}

constexpr std::string_view over_quota = "more comes than this token is for";

} // namespace

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
    if (with.decoded.is_long || with.decoded.items.size() > records_at_once_max) [[unlikely]] {
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
    if (decoded.status == 0 && !is_within_quota(decoded.items, bytes)) {
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

/// A body counts as what comes of it, where that is more: labels go with each record, and what a
/// GET says has no body.
bool http_session::is_within_quota(std::span<const json_item> items, std::size_t bytes) {
    if (!intake_.access.needs_token()) {
        return true;
    }
    auto* const who = intake_.access.find(parser_.head().authorization);
    if (who == nullptr) { // it was its turn when the head came
        return true;
    }
    return !is_over_quota(access_rules::wait_for(
        *who, items.size(), std::max(bytes, bytes_of(items)), event_loop::current().now()));
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

} // namespace sapwood::collector
