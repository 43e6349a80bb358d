// The part of a session that does not wait: what comes, and what is said to it.
#include "http_session.hpp"

#include "metrics.hpp"

#include <chrono>
#include <fmt/format.h>
#include <utility>

namespace sapwood::collector {

namespace {

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
        // Its end is known: it is answered then, and the connection goes on. Who is refused for
        // another reason is told that one.
        if (is_plan_good_) {
            plan_ = refusal(plan_, why);
            is_plan_good_ = false;
        }
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
        if (intake_.is_told_to_end) {
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
    const http_interface* as = has_plan_ ? plan_.as : &native_interface;
    if (!has_plan_ && status == 413) { // by its length, so its head is whole
        as = plan_for(parser_.head(), intake_, guard_).as;
    }
    answers_.fail({.closes = true}, *as, status, why);
}

/// How many bytes of requests that are not whole it has now.
void http_session::hold(std::size_t bytes) noexcept {
    intake_.counts.held_bytes += bytes;
    intake_.counts.held_bytes -= std::exchange(held_, bytes);
}

} // namespace sapwood::collector
