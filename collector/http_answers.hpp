// http_answers: what one connection has been asked and not answered yet, in order. An answer takes
// its form from its own request, and waits for its own records; one that has nothing to wait for
// stands behind those that came before it all the same. Makes no system call. Loop thread only.
#pragma once

#include "http_interface.hpp"
#include "named_log.hpp"

#include <sapwood/lsn.hpp>

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace sapwood::collector {

class intake;

/// What a request says of its answer's form.
struct answer_form {
    bool is_head = false;
    bool is_http_1_0 = false;
    /// It is the connection's last.
    bool closes = false;
    /// Of 429 and 503: when it is worth to try again.
    std::uint32_t retry_after_seconds = 1;
    /// Of 405: the methods that the path has.
    const char* allow = "POST, PUT";

    [[nodiscard]] bool is_usual() const noexcept { return !is_head && !is_http_1_0 && !closes; }
};

/// One that waits. `log` is null where it is ready, as `text`.
struct pending_answer {
    named_log* log = nullptr;
    const http_interface* as = nullptr;
    /// Where its records are, among others'; none where it has none.
    lsn first = lsn::none;
    lsn last = lsn::none;
    /// Of the log, before its first record.
    std::uint64_t lost_before = 0;
    ack_level ack = ack_level::durable;
    answer_form form;
    /// All of its records are with the log. Until then it cannot be answered well.
    bool is_given = false;
    /// Not 0: what it is told, with `text`, whatever becomes of its records.
    unsigned status = 0;
    /// decoded_request::reply.
    std::string text;
    /// Of text, as they were counted.
    std::size_t text_bytes = 0;
};

class http_answers {
  public:
    explicit http_answers(intake& shared) noexcept : intake_(shared) {}

    http_answers(const http_answers&) = delete;
    http_answers& operator=(const http_answers&) = delete;

    ~http_answers() { hold(0); }

    /// An answer that waits for nothing but those before it.
    void say(const answer_form& form, const http_reply& reply);

    /// The same of the words of `as` for a failure.
    void fail(const answer_form& form, const http_interface& as, unsigned status,
              std::string_view why);

    /// `HTTP/1.1 100 Continue`
    void say_continue();

    /// An answer that waits for records: who gives them to `log` notes that in it. Until the next
    /// call.
    [[nodiscard]] pending_answer& wait_for(const answer_form& form, const http_interface& as,
                                           named_log& log, ack_level ack);

    /// Puts what can be answered into bytes(), from the front on.
    void settle();

    /// What is pending is told that nobody knows; the last one closes. Afterwards none is pending.
    void give_up();

    [[nodiscard]] bool has_pending() const noexcept { return next_ != pending_.size(); }

    /// The one that was made by wait_for() last. Until settle(), and only where there is one.
    [[nodiscard]] pending_answer& last_waiting() noexcept { return pending_[last_waiting_]; }

    /// What the first one that is pending waits for: how far its log has to get for it and for all
    /// that are pending with the same wish. Only after settle(), where one is pending.
    [[nodiscard]] const pending_answer& awaited() const noexcept;

    /// To be answered, or already in bytes, so much that it should be sent before more is taken.
    /// That is anything where all connections together have too much
    /// (collector_limits::unsent_bytes_max).
    [[nodiscard]] bool is_full() noexcept;

    /// What is to be sent.
    [[nodiscard]] std::string_view bytes() const noexcept { return out_; }

    /// They were.
    void sent() noexcept;

    /// The whole of an answer.
    static void append(const answer_form& form, const http_reply& reply, const intake& shared,
                       std::string& to);

  private:
    [[nodiscard]] std::string& next_text();
    [[nodiscard]] bool answer(pending_answer& which);
    void count(unsigned status) noexcept;
    void measure() noexcept;
    void hold(std::size_t bytes) noexcept;

    intake& intake_;
    std::vector<pending_answer> pending_;
    /// Those before it are answered.
    std::size_t next_ = 0;
    std::size_t last_waiting_ = 0;
    /// Of those of pending_ that are not answered, up to measured_.
    std::size_t text_bytes_ = 0;
    std::size_t measured_ = 0;
    std::string out_;
    /// Counted in intake_.counts.unsent_bytes.
    std::size_t held_ = 0;
};

} // namespace sapwood::collector
