// received: a piece of a stream's bytes in memory that the runtime lends. Loop thread only.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <utility>

namespace sapwood {

namespace detail {

class receive_buffers;

/// Where a piece is: in a buffer of the loop's, or behind this in an allocation of its own.
struct received_slot {
    /// The piece behind it, while nobody has asked for it yet.
    received_slot* next = nullptr;
    /// Whose buffer it is; null for an allocation of its own.
    receive_buffers* of = nullptr;
    char* data = nullptr;
    std::uint32_t size = 0;
    /// Of the buffer.
    std::uint16_t id = 0;
};

/// The buffer is free again, or the allocation is freed.
void give_back(received_slot& slot) noexcept;

} // namespace detail

/// Bytes that came, until it is destroyed; they may be changed in place. Empty at the end of the
/// stream. May outlive the stream and the loop, but not move to another thread.
class received {
  public:
    /// The end of the stream.
    received() = default;

    explicit received(detail::received_slot* slot) noexcept : slot_(slot) {}

    /// Memory of its own for a piece of `bytes`, at least one: for who makes pieces out of what
    /// came, as a decoder does. Throws std::bad_alloc.
    [[nodiscard]] static received with_room(std::size_t bytes);

    /// Only the first `bytes` of it, at least one, are the piece.
    void shorten(std::size_t bytes) noexcept { slot_->size = static_cast<std::uint32_t>(bytes); }

    received(received&& other) noexcept : slot_(std::exchange(other.slot_, nullptr)) {}

    received& operator=(received&& other) noexcept {
        received old(std::exchange(slot_, std::exchange(other.slot_, nullptr)));
        return *this;
    }

    ~received() {
        if (slot_ != nullptr) {
            detail::give_back(*slot_);
        }
    }

    [[nodiscard]] bool empty() const noexcept { return slot_ == nullptr; }

    /// False at the end of the stream.
    explicit operator bool() const noexcept { return slot_ != nullptr; }

    [[nodiscard]] std::span<char> bytes() const noexcept {
        return slot_ == nullptr ? std::span<char>() : std::span(slot_->data, slot_->size);
    }

    [[nodiscard]] std::string_view text() const noexcept {
        return {bytes().data(), bytes().size()};
    }

  private:
    detail::received_slot* slot_ = nullptr;
};

} // namespace sapwood
