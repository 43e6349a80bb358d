// The memory that a loop's streams receive into: buffers that the kernel takes from a ring of its
// own when bytes are there, so that a connection that waits costs none. Where most of them are
// lent, pieces are copied out, so that slow readers cannot starve the others. The kernel takes them
// in the order in which they were offered, so it is offered few, and those first that were used
// last: they are in the cache still. Loop thread only.
#pragma once

#include <sapwood/received.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <liburing.h>
#include <memory>
#include <utility>

namespace sapwood::detail {

class receive_buffers {
  public:
    /// A power of two.
    static constexpr std::uint16_t count = 256;
    /// How many the ring has to choose from at first, when none is lent. One pass of the kernel
    /// over the sockets that are ready takes some 20, and there may be two in a system call: so
    /// many stay in the ring while others are lent.
    static constexpr unsigned offered_at_first = 80;
    /// What one completion brings at most: a message of this size arrives in one piece.
    static constexpr std::size_t piece_bytes_max = 16u << 10;
    /// The loop's only group.
    static constexpr std::uint16_t group = 1;

    /// Throws std::bad_alloc.
    receive_buffers();
    receive_buffers(const receive_buffers&) = delete;
    receive_buffers& operator=(const receive_buffers&) = delete;

    /// The loop is gone, and its ring: deletes it once the last piece has been given back.
    void retire() noexcept;

    /// What the ring takes buffers from: `count` entries.
    [[nodiscard]] io_uring_buf_ring& entries() noexcept { return *entries_; }

    /// The piece of `size` bytes that the ring says is in buffer `id`.
    [[nodiscard]] received_slot& take(std::uint16_t id, std::uint32_t size) noexcept {
        ++lent_;
        if (offered() < wanted_ / 2) [[unlikely]] {
            offer_spare();
        }
        received_slot& slot = slots_[id];
        slot.next = nullptr;
        slot.size = size;
        return slot;
    }

    void give_back(received_slot& slot) noexcept {
        --lent_;
        if (is_retired_) [[unlikely]] {
            delete_if_unused();
        } else if (offered() <= wanted_) { // with this one
            offer(slot);
        } else {
            --in_use_;
            slot.next = spare_;
            spare_ = &slot;
        }
    }

    /// The ring found none for what had come.
    void lacked_one() noexcept {
        wanted_ = std::min(wanted_ + 2, unsigned{count});
        offer_spare();
    }

    [[nodiscard]] bool is_short() const noexcept { return lent_ > count - count / 4; }

    [[nodiscard]] bool is_empty() const noexcept { return lent_ == count; }

    /// Those that somebody has.
    [[nodiscard]] unsigned lent() const noexcept { return lent_; }

    /// A copy of `slot`, which is given back, in an allocation of its own; `slot` itself where
    /// there is no memory for it.
    [[nodiscard]] static received_slot& copy_out(received_slot& slot) noexcept;

    /// A slot with room for piece_bytes_max bytes; null where there is no memory.
    [[nodiscard]] static received_slot* allocate(std::size_t bytes) noexcept;

  private:
    ~receive_buffers();

    void delete_if_unused() noexcept;

    /// How many the ring has to choose from.
    [[nodiscard]] unsigned offered() const noexcept { return in_use_ - lent_; }

    void offer_spare() noexcept {
        if (spare_ != nullptr) {
            ++in_use_;
            offer(*std::exchange(spare_, spare_->next));
        }
    }

    void offer(const received_slot& slot) noexcept {
        ::io_uring_buf_ring_add(entries_, slot.data, piece_bytes_max, slot.id, count - 1, 0);
        ::io_uring_buf_ring_advance(entries_, 1);
    }

    // Constant after construction.
    char* memory_ = nullptr;
    io_uring_buf_ring* entries_ = nullptr;
    const std::unique_ptr<received_slot[]> slots_;

    /// Each buffer is lent, offered to the ring, or spare.
    unsigned lent_ = 0;
    /// Those that are not spare.
    unsigned in_use_ = 0;
    unsigned wanted_ = offered_at_first;
    received_slot* spare_ = nullptr;
    bool is_retired_ = false;
};

} // namespace sapwood::detail
