// connection: somebody who is connected to a collector, whatever he speaks; connections: all of
// them, with their deadlines and their end. Loop thread only.
#pragma once

#include "intake.hpp"
#include "peer_shares.hpp"

#include <sapwood/clock.hpp>
#include <sapwood/event.hpp>
#include <sapwood/spawn.hpp>
#include <sapwood/task.hpp>

#include <chrono>
#include <cstddef>
#include <list>
#include <memory>
#include <string_view>
#include <vector>

namespace sapwood::collector {

/// Its run() is a task of its own. When its deadline is over run() is cancelled, once; when the
/// collector ends, again and again until it is over.
class connection {
  public:
    explicit connection(intake& shared) noexcept : intake_(shared), heard_at_(shared.now) {}

    connection(const connection&) = delete;
    connection& operator=(const connection&) = delete;
    virtual ~connection() = default;

    [[nodiscard]] virtual task<> run() = 0;

    /// It may be closed at once, and nothing is lost: it waits for its peer to begin.
    [[nodiscard]] virtual bool is_idle() const noexcept = 0;

    /// It has had longer than it takes for what its peer has begun and does not go on with: where
    /// there is no other one, somebody else may have its place.
    [[nodiscard]] virtual bool is_slow() const noexcept { return false; }

    [[nodiscard]] clock::time_point deadline() const noexcept { return deadline_; }

    /// What it waits for did not come in time: run() is about to be cancelled.
    void expire() noexcept { is_expired_ = true; }

    /// Since when it has had nothing of its peer's, where it is idle; within intake::look_every.
    [[nodiscard]] clock::time_point heard_at() const noexcept { return heard_at_; }

  protected:
    void note_heard() noexcept { heard_at_ = intake_.now; }

    /// Costs no look at the clock, and may be noticed late by twice intake::look_every.
    void set_deadline(clock::duration from_now) noexcept {
        deadline_ = saturating_add(intake_.now, from_now);
    }

    /// Of the time that set_deadline(whole) gave, more is over than `some`.
    [[nodiscard]] bool is_overdue(clock::duration whole,
                                  clock::duration some = std::chrono::seconds(1)) const noexcept {
        return deadline_ != clock::time_point::max() && deadline_ - whole + some <= intake_.now;
    }

    void forget_deadline() noexcept { deadline_ = clock::time_point::max(); }

    [[nodiscard]] bool is_expired() const noexcept { return is_expired_; }

    intake& intake_;

  private:
    clock::time_point heard_at_;
    clock::time_point deadline_ = clock::time_point::max();
    bool is_expired_ = false;
};

class connections {
  public:
    explicit connections(intake& of);

    /// Runs `peer` to its end, as one of the connections that `who` has.
    void add(std::unique_ptr<connection> peer, peer_id who);

    /// Runs `peer` in place of the connection that is running, which ends then.
    void hand_over(std::unique_ptr<connection> peer, peer_id who);

    /// Whether `who` has as many as one may have. Then it is counted, and told.
    [[nodiscard]] bool has_its_share(peer_id who, std::string_view name);

    /// Waits until there may be another one. Where there are as many as may be, those who have said
    /// nothing for long make room, the one that has for longest first: who only connects could keep
    /// everybody out.
    [[nodiscard]] task<> room();

    /// For ever: has those end whose deadline is over.
    [[nodiscard]] task<> watch();

    /// Ends those that are idle, and waits for the others, until `until`; then ends them as well.
    /// How many those were is the result.
    [[nodiscard]] task<std::size_t> drain(clock::time_point until);

    [[nodiscard]] std::size_t size() const noexcept { return alive_.size(); }

  private:
    struct entry {
        std::unique_ptr<connection> peer;
        join_handle<void> handle;
        peer_id who;
        bool is_cancelled = false;
    };

    using place = std::list<entry>::iterator;

    task<> run_one(place at);
    void look_at_deadlines();
    void make_room();
    [[nodiscard]] entry* next_to_close() noexcept;
    void look_for_closable() noexcept;
    void cancel(entry& which);

    intake& intake_;
    std::list<entry> alive_;
    /// Of those, cancelled.
    std::size_t ending_ = 0;
    /// When somebody was cancelled, or has ended, for the last time; see intake::now.
    clock::time_point moved_at_{};
    /// Those of alive_ that may be closed for others, as they were when they were looked for; the
    /// next one stands last.
    std::vector<entry*> closable_;
    bool are_more_closable_ = false;
    /// When they were looked for; see intake::now.
    clock::time_point looked_at_{};
    peer_shares shares_;
    event changed_;
};

} // namespace sapwood::collector
