// http_session: one connection that speaks HTTP. Takes requests as they come, gives their records
// to a log, and answers in order: requests that came together are acknowledged together, with one
// wait and one write. Loop thread only.
#pragma once

#include "connection.hpp"
#include "http_parser.hpp"
#include "intake.hpp"
#include "peer_stream.hpp"
#include "source.hpp"

#include <sapwood/lsn.hpp>

#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace sapwood::collector {

class http_session final : public connection {
  public:
    /// `is_guarded`: a browser could have sent it, so Host and Origin are looked at.
    http_session(intake& shared, std::unique_ptr<peer_stream> to, source from, bool is_guarded);

    [[nodiscard]] task<> run() override;

    [[nodiscard]] bool is_idle() const noexcept override { return is_idle_; }

  private:
    enum class action : std::uint8_t { take, refuse, health, ready, metrics };

    /// What is to be done with a request, as its head says.
    struct plan {
        action what = action::refuse;
        named_log* log = nullptr;
        ack_level ack = ack_level::durable;
        /// Records are in the target's query.
        bool is_query = false;
        unsigned status = 400;
        const char* reason = "";
    };

    task<> converse();
    task<> handle(std::string_view& input, bool& goes_on);
    task<> on_head(bool is_body_here);
    task<> on_request();
    task<> take_records();
    task<> acknowledge();
    task<> send();
    task<> linger();

    [[nodiscard]] plan plan_for(const http_head& head);
    [[nodiscard]] plan plan_for_path(const http_head& head);
    [[nodiscard]] plan plan_for_log(const http_head& head, std::string_view name,
                                    std::string_view query);
    [[nodiscard]] bool decode(std::vector<record>& records);
    [[nodiscard]] bool must_come_again();
    [[nodiscard]] bool is_within_rate(std::size_t records);

    void answer(unsigned status, std::string_view result);
    void answer_text(unsigned status, std::string_view text);
    void append_answer(unsigned status, std::string_view type, std::string_view body);
    void count(unsigned status) noexcept;
    void hold(std::size_t bytes) noexcept;

    intake& intake_;
    const std::unique_ptr<peer_stream> stream_;
    const source source_;
    const bool is_guarded_;
    http_parser parser_;
    plan plan_;
    bool has_plan_ = false;
    bool is_idle_ = true;
    /// After what is in out_ nothing more is said.
    bool is_closing_ = false;
    /// Where the next request begins is not known, or its body will not be read.
    bool is_cut_ = false;
    /// What came and could not be used yet.
    std::string pending_;
    /// Answers that are ready.
    std::string out_;
    /// Requests whose records `acked_log_` has, up to `acked_place_`, and that wait for
    /// `acked_at_`.
    unsigned unanswered_ = 0;
    named_log* acked_log_ = nullptr;
    ack_level acked_at_ = ack_level::durable;
    lsn acked_place_ = lsn::none;
    /// Counted in intake_.counts.held_bytes.
    std::size_t held_ = 0;
    std::string error_;
};

} // namespace sapwood::collector
