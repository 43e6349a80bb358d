// http_session: one connection that speaks HTTP. Takes requests as they come, gives their records
// to a log, and answers in order: requests that came together are acknowledged together, with one
// wait for each log and level, and one write. What comes is looked at by plain functions; the
// coroutine waits for bytes, for room in a log, for acknowledgements, and to write. Loop thread
// only.
#pragma once

#include "connection.hpp"
#include "http_answers.hpp"
#include "http_parser.hpp"
#include "http_routes.hpp"
#include "intake.hpp"
#include "source.hpp"

#include <tls/peer_stream.hpp>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace sapwood::collector {

class http_session final : public connection {
  public:
    http_session(intake& shared, std::unique_ptr<peer_stream> to, source from, browser_guard guard);

    ~http_session() override {
        hold(0);
        count_blocked(nullptr);
    }

    [[nodiscard]] task<> run() override;

    [[nodiscard]] bool is_idle() const noexcept override { return stage_ == stage::idle; }

    [[nodiscard]] bool is_slow() const noexcept override;

  private:
    /// What it waits for, and so what its deadline means.
    enum class stage : std::uint8_t {
        /// The first byte of a request: it may be closed, and nothing is lost.
        idle,
        /// The rest of a request.
        reading,
        /// Its log.
        settling,
        /// The client, to take its answers.
        sending,
    };

    task<> converse();
    task<> take_long();
    task<> decode_long(body_decoding& with);
    task<> give_slices(std::span<const json_item> items, pending_answer& answer);
    task<> give_blocked();
    task<> last_words();
    task<> linger();

    void advance(std::string_view& input);
    void keep(std::string_view input);
    void on_head(bool is_body_here);
    void make_plan();
    void on_request();
    void take_records();
    std::size_t decode(body_decoding& with, std::size_t wanted) const;
    [[nodiscard]] pending_answer* answer_to(decoded_request& decoded, std::size_t bytes);
    [[nodiscard]] bool give(std::span<const json_item> items, pending_answer& answer);
    [[nodiscard]] bool give_records(std::span<const json_item> items, pending_answer& answer);
    void refuse_rest();
    void end_in_the_middle();
    void expire_now();
    void wait_for_bytes() noexcept;

    void note_given(pending_answer& answer, lsn place, std::size_t bytes);
    [[nodiscard]] bool must_come_again();
    [[nodiscard]] bool refused_by_now();
    [[nodiscard]] bool is_share_used_up();
    [[nodiscard]] bool is_within_quota(std::span<const json_item> items, std::size_t bytes);
    [[nodiscard]] bool is_over_quota(clock::duration wait);
    [[nodiscard]] bool may_go_on() noexcept;
    [[nodiscard]] answer_form form() const noexcept;
    void fail(unsigned status, std::string_view why);
    void end_with(unsigned status, std::string_view why);
    void hold(std::size_t bytes) noexcept;
    void count_blocked(named_log* of) noexcept;

    const std::unique_ptr<peer_stream> stream_;
    const source source_;
    const browser_guard guard_;
    stage stage_ = stage::idle;
    bool has_plan_ = false;
    /// No further request is looked at.
    bool is_closing_ = false;
    /// Where the next request begins is not known, or its body will not be read.
    bool is_cut_ = false;
    /// It would go on, were it not for the collector's end: requests may be on their way.
    bool ends_with_collector_ = false;
    /// Some of rest_ can be looked at without more.
    bool has_more_ = false;
    /// A whole request, plan_, takes long, and is the next thing to do: see take_long.
    bool is_held_back_ = false;
    http_plan plan_;
    /// What plan_ is a plan of, if of anything: another head of the same bytes has the same plan.
    std::uint64_t planned_at_ = 0;
    bool is_plan_good_ = false;
    http_parser parser_;
    http_answers answers_;
    /// What came and was not looked at yet.
    std::string rest_;
    /// Of the request that was looked at last, where it was refused with 429.
    std::uint32_t retry_after_seconds_ = 1;
    /// Of the request that was looked at last: for those from blocked_from_ on its log had no room.
    std::vector<record> blocked_;
    std::size_t blocked_from_ = 0;
    /// Counted in that log, if in any; see named_log::count_blocked.
    std::size_t blocked_bytes_ = 0;
    named_log* blocked_log_ = nullptr;
    /// Of plan_, where it says to come again.
    std::string why_;
    /// Counted in intake_.counts.held_bytes.
    std::size_t held_ = 0;
};

} // namespace sapwood::collector
