// recent_ids: which messages were seen lately, by their ids. A broker delivers again what a
// connection had and did not acknowledge, as many as the prefetch at a time; who remembers more
// ids than that, and reads them anew from where it keeps the messages when it starts, keeps each
// message once. Their texts stand in a ring, so that a new one needs no memory once it is full, and
// a table of hashes shows where. A value type for one thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace sapwood::amqp {

class recent_ids {
  public:
    /// The newest `count` are remembered, at least one.
    explicit recent_ids(std::size_t count);

    /// False: it was seen before. An empty one, of who gives none, is always new. Throws
    /// std::bad_alloc.
    [[nodiscard]] bool insert(std::string_view id);

    /// The last `count` that were new, as long as none was forgotten since.
    void forget_newest(std::size_t count) noexcept;

    [[nodiscard]] std::size_t size() const noexcept { return ring_.size(); }

  private:
    struct kept {
        std::string text;
        std::uint32_t hash = 0;
    };

    /// Of the table. `number` is that of one in the ring, from 1 on; 0: it is free.
    struct place {
        std::uint32_t hash = 0;
        std::uint32_t number = 0;
    };

    [[nodiscard]] std::size_t next(std::size_t at) const noexcept {
        return (at + 1) & (table_.size() - 1);
    }

    [[nodiscard]] bool has(std::string_view id, std::uint32_t hash) const noexcept;
    void put(place what) noexcept;
    void take_out(std::uint32_t number) noexcept;
    void grow();

    std::size_t count_;
    std::vector<kept> ring_;
    /// Where the oldest stands, once there are as many as are remembered.
    std::size_t oldest_ = 0;
    /// A power of two of them, at least half of which are free.
    std::vector<place> table_;
};

} // namespace sapwood::amqp
