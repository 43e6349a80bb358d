// The codec: frames, methods and headers of messages, from bytes and to bytes. Methods, properties
// and tables are librabbitmq's to encode and decode; that what it is given has the size and the
// depth that it takes for granted is looked at here. What is decoded lives until the next call.
#pragma once

#include <sapwood/amqp/field.hpp>
#include <sapwood/amqp/message.hpp>
#include <sapwood/amqp/topology.hpp>

#include <amqp.h>
#include <amqp_framing.h>

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace sapwood::amqp::detail {

/// Before and behind the payload of each.
inline constexpr std::size_t frame_head_bytes = 7;
inline constexpr std::size_t frame_end_bytes = 1;
/// What every peer takes, and what is said before anything is agreed upon fits into.
inline constexpr std::uint32_t frame_bytes_least = 4096;

[[nodiscard]] inline std::string_view view(amqp_bytes_t from) noexcept {
    return {static_cast<const char*>(from.bytes), from.len};
}

/// The library has no pointers to what is constant, and changes nothing.
[[nodiscard]] inline amqp_bytes_t bytes(std::string_view from) noexcept {
    return {from.size(), const_cast<char*>(from.data())};
}

/// Throws errc::protocol_broken, and says why.
[[noreturn]] void refuse(const std::string& why);

struct frame {
    std::uint8_t type = 0;
    std::uint16_t channel = 0;
    std::string_view payload;
};

/// Cuts what comes into frames. A frame that is whole in a piece is not copied.
class frame_splitter {
  public:
    /// Frames of more bytes in all are none.
    explicit frame_splitter(std::uint32_t bytes_max) noexcept : bytes_max_(bytes_max) {}

    void set_bytes_max(std::uint32_t bytes) noexcept { bytes_max_ = bytes; }

    /// The next one, taken from the front of `piece`: it is there until the next call, and as long
    /// as the piece. False: `piece` is empty now, and what it had of a frame is kept. Throws
    /// std::system_error where what comes cannot be a frame.
    [[nodiscard]] bool next(std::string_view& piece, frame& out);

  private:
    [[nodiscard]] std::size_t size_of(std::string_view head) const;

    std::uint32_t bytes_max_;
    std::string kept_;
    bool is_kept_given_ = false;
};

struct method {
    amqp_method_number_t id = 0;
    /// The library's structure for it.
    void* it = nullptr;

    template <class T>
    [[nodiscard]] const T& as() const noexcept {
        return *static_cast<const T*>(it);
    }
};

struct content_header {
    std::uint64_t body_bytes = 0;
    const amqp_basic_properties_t* props = nullptr;
    /// It has headers, which are not among the properties: too deep, too many, or no table.
    bool are_headers_left_out = false;
};

class decoder {
  public:
    decoder() noexcept;
    decoder(const decoder&) = delete;
    decoder& operator=(const decoder&) = delete;
    ~decoder();

    /// Of the payload of a method frame. Throws std::system_error where it is none, or none that a
    /// broker sends to a client on such a channel.
    [[nodiscard]] method decode_method(std::uint16_t channel, std::string_view payload);

    /// Of the payload of a header frame. Throws std::system_error where it is the broker who has it
    /// wrong. Headers are their publisher's: one whose headers nobody can read would come again on
    /// each connection that were broken off for it, and so they are left out.
    [[nodiscard]] content_header decode_header(std::string_view payload);

  private:
    amqp_pool_t pool_;
    /// Properties without their headers, as they are decoded then.
    std::string rest_;
};

/// Copies.
[[nodiscard]] table to_table(const amqp_table_t& from);
/// Into those of a message that has none yet.
void copy_properties(const content_header& from, properties& to);

/// Tables as the library has them, which point to those they are made of.
class table_builder {
  public:
    table_builder() noexcept;
    table_builder(const table_builder&) = delete;
    table_builder& operator=(const table_builder&) = delete;
    ~table_builder();

    /// Throws std::bad_alloc.
    [[nodiscard]] amqp_table_t build(const table& from);

  private:
    [[nodiscard]] amqp_field_value_t build(const field_value& from);

    amqp_pool_t pool_;
};

// Each appends whole frames to `out`. They throw std::invalid_argument where something is too long
// for the protocol (names have 255 bytes at most), and leave `out` as it was then.

void put_method(std::string& out, std::uint16_t channel, amqp_method_number_t id, const void* it);
void put_heartbeat(std::string& out);

struct publication_parts {
    std::uint16_t channel = 0;
    std::string_view exchange;
    std::string_view routing_key;
    std::string_view body;
    std::string_view message_id;
};

/// Whether a message's frames begin with a publication to this exchange by this key that may come
/// back: a mandatory one.
[[nodiscard]] bool may_come_back(std::string_view frames, std::string_view exchange,
                                 std::string_view routing_key) noexcept;

/// A message: its method, header and body.
void put_publication(std::string& out, const publication_parts& parts,
                     const publish_options& options, std::uint32_t frame_bytes_max);

} // namespace sapwood::amqp::detail
