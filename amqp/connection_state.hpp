// connection_state: what a connection is, shared by its handle and by the task that keeps it: a
// link while there is one, the channels, and the way back to a link. Loop thread only.
#pragma once

#include "channel_state.hpp"
#include "link.hpp"

#include <sapwood/amqp/connection.hpp>

#include <sapwood/event.hpp>
#include <sapwood/random_backoff.hpp>
#include <sapwood/spawn.hpp>

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

namespace sapwood::amqp::detail {

/// Throws std::invalid_argument that names the option.
void require_valid(const connection_options& options);

class connection_state final : public std::enable_shared_from_this<connection_state>,
                               private link_listener {
  public:
    explicit connection_state(connection_options options);

    /// The first link. Throws as amqp::connect does.
    [[nodiscard]] task<> begin();

    [[nodiscard]] task<std::shared_ptr<channel_state>> open_channel();
    [[nodiscard]] task<> close();
    /// Without waiting for anybody.
    void abandon() noexcept;

    [[nodiscard]] const connection_options& options() const noexcept { return options_; }

    /// Null while there is none.
    [[nodiscard]] link* up() noexcept { return link_.get(); }

    [[nodiscard]] bool is_up() const noexcept { return is_restored_; }

    [[nodiscard]] bool is_blocked() const noexcept { return is_blocked_; }

    [[nodiscard]] std::uint64_t times_up() const noexcept { return times_up_; }

    /// Who wanted to be told of what happens.
    void tell(connection_event::kind what, std::string text) const;

    /// Of what is declared, on whichever channel: 1, 2, 3 ...
    [[nodiscard]] std::uint64_t next_place() noexcept { return ++places_; }

    template <class Act>
    void for_each_channel(Act act) {
        for (const auto& [number, each] : channels_) {
            act(*each);
        }
    }

    /// The broker may not have noticed yet that the link before this one is gone.
    [[nodiscard]] bool may_be_known_still() const;

    /// What bodies of messages are cut into, which no link may change.
    [[nodiscard]] std::uint32_t frame_bytes_max() const noexcept { return frame_bytes_max_; }

  private:
    void take(const frame& from) override;
    void take_method(const method& said);
    void require_reading();
    [[nodiscard]] task<> keep();
    [[nodiscard]] task<> keep_up();
    [[nodiscard]] task<> live();
    [[nodiscard]] task<> wait_for_confirms(clock::time_point until);
    [[nodiscard]] task<> restore();
    [[nodiscard]] task<std::unique_ptr<link>> try_hosts();
    using channel_list = std::vector<std::shared_ptr<channel_state>>;
    [[nodiscard]] task<> restore(const channel_list& channels);
    [[nodiscard]] task<> declare_again(const channel_list& on);
    [[nodiscard]] task<> unless_over(std::shared_ptr<channel_state> of, task<> what);
    [[nodiscard]] channel_list channels_to_open() const;
    [[nodiscard]] std::shared_ptr<channel_state> add_channel();
    void lose(const std::string& why);
    void end_channels(std::error_code why, std::string_view text) noexcept;

    const connection_options options_;
    std::unique_ptr<link> link_;
    std::uint32_t frame_bytes_max_ = 0;
    std::map<std::uint16_t, std::shared_ptr<channel_state>> channels_;
    /// Which of the hosts is tried first: that of the last link.
    std::size_t host_ = 0;
    bool is_restored_ = false;
    bool is_blocked_ = false;
    bool is_closing_ = false;
    /// It is over, or about to be.
    bool is_ended_ = false;
    /// The broker has said goodbye.
    event said_goodbye_;
    std::uint64_t times_up_ = 0;
    std::uint64_t places_ = 0;
    /// When the last link was lost on which all was.
    clock::time_point lost_at_{};
    sapwood::detail::random_backoff backoff_;
    join_handle<void> keeper_;
};

} // namespace sapwood::amqp::detail
