#include "http_answers.hpp"

#include "http_status.hpp"
#include "intake.hpp"

#include <charconv>
#include <fmt/format.h>
#include <iterator>
#include <optional>
#include <system_error>
#include <utility>

namespace sapwood::collector {

namespace {

/// Past it answers are sent before more requests are looked at.
constexpr std::size_t pending_max = 256;
constexpr std::size_t bytes_max = 64u << 10;

/// More memory than this is given back.
constexpr std::size_t usual_pending = 16;
constexpr std::size_t usual_answer_bytes = 4u << 10;

/// How it stands with the records of an answer; nothing where that is not known yet.
std::optional<std::error_code> outcome_of(const pending_answer& which) {
    if (!which.is_given) {
        return std::nullopt;
    }
    if (which.last == lsn::none || which.ack == ack_level::accepted) {
        return std::error_code();
    }
    pipeline& log = which.log->log();
    const auto at = [&](lsn place) -> std::optional<std::error_code> {
        receipt told = which.ack == ack_level::durable ? log.durable(place) : log.written(place);
        if (!told.await_ready()) {
            return std::nullopt;
        }
        return told.outcome().error();
    };
    auto how = at(which.last);
    if (!how || *how || which.first == which.last || log.counts().lines_lost == which.lost_before) {
        return how;
    }
    // Some record was lost meanwhile: the last one's place does not speak for those before it.
    for (lsn place = which.first; how && !*how && place != which.last; place = place + 1) {
        how = at(place);
    }
    return how;
}

} // namespace

void http_answers::say(const answer_form& form, const http_reply& reply) {
    count(reply.status);
    append(form, reply, intake_, next_text());
}

void http_answers::fail(const answer_form& form, const http_interface& as, unsigned status,
                        std::string_view why) {
    std::string body;
    say(form, as.failure(status, why, body));
}

void http_answers::say_continue() {
    next_text() += "HTTP/1.1 100 Continue\r\n\r\n";
}

/// Where an answer that waits for nothing belongs.
std::string& http_answers::next_text() {
    return has_pending() ? pending_.emplace_back().text : out_;
}

pending_answer& http_answers::wait_for(const answer_form& form, const http_interface& as,
                                       named_log& log, ack_level ack) {
    last_waiting_ = pending_.size();
    pending_answer& made = pending_.emplace_back();
    made.log = &log;
    made.as = &as;
    made.lost_before = log.log().counts().lines_lost;
    made.ack = ack;
    made.form = form;
    return made;
}

void http_answers::settle() {
    measure();
    while (has_pending() && answer(pending_[next_])) {
        pending_answer& answered = pending_[next_];
        if (answered.text_bytes != 0) {
            text_bytes_ -= answered.text_bytes;
            std::string().swap(answered.text);
        }
        ++next_;
    }
    hold(out_.size() + text_bytes_);
    if (!has_pending()) {
        next_ = 0;
        measured_ = 0;
        pending_.clear();
        if (pending_.capacity() > usual_pending) {
            std::vector<pending_answer>().swap(pending_);
        }
    }
}

/// False where it has to wait.
bool http_answers::answer(pending_answer& which) {
    if (which.log == nullptr) {
        out_ += which.text;
        return true;
    }
    if (which.status == 0) {
        const auto how = outcome_of(which);
        if (!how) {
            return false;
        }
        if (!*how && which.form.is_usual() && which.text.empty()) [[likely]] {
            ++intake_.counts.answers_well;
            out_ += intake_.usual_success(*which.as, which.ack);
            return true;
        }
        if (!*how) {
            ++intake_.counts.answers_well;
            append(which.form, which.as->success(which.ack, which.text), intake_, out_);
            return true;
        }
        which.status = 503;
        which.text = how->message();
    }
    std::string body;
    count(which.status);
    append(which.form, which.as->failure(which.status, which.text, body), intake_, out_);
    return true;
}

void http_answers::give_up() {
    for (std::size_t i = next_; i != pending_.size(); ++i) {
        pending_answer& each = pending_[i];
        if (each.log != nullptr && each.status == 0 && !outcome_of(each)) {
            each.status = 503;
            each.text = "the record is not on disk yet: it may be in the log or not";
            each.form.closes = i + 1 == pending_.size();
        }
    }
    settle();
}

const pending_answer& http_answers::awaited() const noexcept {
    const pending_answer* found = &pending_[next_];
    for (std::size_t i = next_ + 1; i != pending_.size(); ++i) {
        const pending_answer& each = pending_[i];
        if (each.log == found->log && each.ack == found->ack && each.last > found->last &&
            each.status == 0 && !outcome_of(each)) {
            found = &each;
        }
    }
    return *found;
}

/// Whoever made them has filled in their texts by now.
void http_answers::measure() noexcept {
    for (; measured_ != pending_.size(); ++measured_) {
        pending_answer& each = pending_[measured_];
        each.text_bytes = each.text.size();
        text_bytes_ += each.text_bytes;
    }
}

bool http_answers::is_full() noexcept {
    measure();
    const std::size_t bytes = out_.size() + text_bytes_;
    hold(bytes);
    return pending_.size() - next_ >= pending_max || bytes >= bytes_max ||
           (bytes != 0 && intake_.has_too_much_unsent());
}

void http_answers::sent() noexcept {
    out_.clear();
    if (out_.capacity() > usual_answer_bytes) {
        std::string().swap(out_);
    }
    hold(text_bytes_);
}

void http_answers::append(const answer_form& form, const http_reply& reply, const intake& shared,
                          std::string& to) {
    const unsigned status = reply.status;
    to += "HTTP/1.1 ";
    to += status_line(status);
    to += "\r\n";
    to += shared.date_field();
    to += reply.fields;
    if (!reply.type.empty()) {
        to += "Content-Type: ";
        to += reply.type;
        to += "\r\n";
    }
    if (status != 204) {
        to += "Content-Length: ";
        char digits[20];
        const auto end = std::to_chars(std::begin(digits), std::end(digits), reply.body.size());
        to.append(digits, end.ptr);
        to += "\r\n";
    }
    if (status == 503 || status == 429) {
        fmt::format_to(std::back_inserter(to), "Retry-After: {}\r\n", form.retry_after_seconds);
    }
    if (status == 401) {
        to += "WWW-Authenticate: Bearer\r\n";
    }
    if (status == 405) {
        to += "Allow: ";
        to += form.allow;
        to += "\r\n";
    }
    if (form.closes) {
        to += "Connection: close\r\n";
    } else if (form.is_http_1_0) {
        to += "Connection: keep-alive\r\n";
    }
    to += "\r\n";
    if (!form.is_head) {
        to += reply.body;
    }
}

/// How many bytes it has that are not sent.
void http_answers::hold(std::size_t bytes) noexcept {
    intake_.counts.unsent_bytes += bytes;
    intake_.counts.unsent_bytes -= std::exchange(held_, bytes);
}

void http_answers::count(unsigned status) noexcept {
    collector_counts& counts = intake_.counts;
    ++(status < 300   ? counts.answers_well
       : status < 500 ? counts.answers_refused
                      : counts.answers_unavailable);
}

} // namespace sapwood::collector
