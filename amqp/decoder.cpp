#include "codec.hpp"

#include <algorithm>
#include <array>
#include <fmt/format.h>

namespace sapwood::amqp::detail {

namespace {

constexpr std::size_t pool_page_bytes = 4096;
constexpr std::size_t method_id_bytes = 4;
/// Class, weight, size of the body, flags.
constexpr std::size_t header_bytes_least = 14;

/// What a broker says on a channel, and on channel 0.
constexpr std::array spoken_on_channels{
    AMQP_CHANNEL_OPEN_OK_METHOD,  AMQP_CHANNEL_FLOW_METHOD,        AMQP_CHANNEL_CLOSE_METHOD,
    AMQP_CHANNEL_CLOSE_OK_METHOD, AMQP_EXCHANGE_DECLARE_OK_METHOD, AMQP_EXCHANGE_DELETE_OK_METHOD,
    AMQP_QUEUE_DECLARE_OK_METHOD, AMQP_QUEUE_BIND_OK_METHOD,       AMQP_QUEUE_PURGE_OK_METHOD,
    AMQP_QUEUE_DELETE_OK_METHOD,  AMQP_QUEUE_UNBIND_OK_METHOD,     AMQP_BASIC_QOS_OK_METHOD,
    AMQP_BASIC_CONSUME_OK_METHOD, AMQP_BASIC_CANCEL_METHOD,        AMQP_BASIC_CANCEL_OK_METHOD,
    AMQP_BASIC_RETURN_METHOD,     AMQP_BASIC_DELIVER_METHOD,       AMQP_BASIC_ACK_METHOD,
    AMQP_BASIC_NACK_METHOD,       AMQP_CONFIRM_SELECT_OK_METHOD,
};
constexpr std::array spoken_on_connection{
    AMQP_CONNECTION_START_METHOD,     AMQP_CONNECTION_TUNE_METHOD,
    AMQP_CONNECTION_OPEN_OK_METHOD,   AMQP_CONNECTION_CLOSE_METHOD,
    AMQP_CONNECTION_CLOSE_OK_METHOD,  AMQP_CONNECTION_BLOCKED_METHOD,
    AMQP_CONNECTION_UNBLOCKED_METHOD,
};

/// Looks at a table without decoding it: the library's decoder calls itself for each table in a
/// table, as deep as a peer likes, and has the stack for some thousands; and a value of two bytes
/// takes a hundred in memory.
class table_check {
  public:
    explicit table_check(std::string_view rest, int values_max = table_values_max) noexcept
        : rest_(rest),
          values_left_(values_max) {}

    /// Whether a table stands at the front, of tables and arrays at most `depth` deep.
    [[nodiscard]] bool skip_table(int depth = table_depth_max) {
        std::string_view inside;
        if (depth == 0 || !take(long_size(), inside)) {
            return false;
        }
        table_check entries(inside, values_left_);
        while (!entries.rest_.empty()) {
            if (!entries.skip_short() || !entries.skip_value(depth - 1)) {
                return false;
            }
        }
        values_left_ = entries.values_left_;
        return true;
    }

    /// What says that it is a table, with its size, whatever stands in it.
    [[nodiscard]] bool take_table(std::string_view& into) {
        const std::string_view whole = rest_;
        std::string_view inside;
        if (!take(long_size(), inside)) {
            return false;
        }
        into = whole.substr(0, whole.size() - rest_.size());
        return true;
    }

    /// A string with a size of one byte.
    [[nodiscard]] bool skip_short() {
        std::string_view size;
        std::string_view text;
        return take(1, size) && take(static_cast<unsigned char>(size.front()), text);
    }

  private:
    static constexpr std::size_t no_size = ~std::size_t{0};

    [[nodiscard]] bool take(std::size_t size, std::string_view& into) {
        if (size > rest_.size()) {
            return false;
        }
        into = rest_.substr(0, size);
        rest_.remove_prefix(size);
        return true;
    }

    [[nodiscard]] std::size_t long_size() {
        std::string_view digits;
        if (!take(4, digits)) {
            return no_size;
        }
        std::size_t size = 0;
        for (const char each : digits) {
            size = size << 8 | static_cast<unsigned char>(each);
        }
        return size;
    }

    [[nodiscard]] bool skip_array(int depth) {
        std::string_view inside;
        if (depth == 0 || !take(long_size(), inside)) {
            return false;
        }
        table_check values(inside, values_left_);
        while (!values.rest_.empty()) {
            if (!values.skip_value(depth - 1)) {
                return false;
            }
        }
        values_left_ = values.values_left_;
        return true;
    }

    [[nodiscard]] bool skip_value(int depth) {
        std::string_view kind;
        std::string_view value;
        if (values_left_-- == 0 || !take(1, kind)) {
            return false;
        }
        switch (kind.front()) {
        case AMQP_FIELD_KIND_VOID:
            return true;
        case AMQP_FIELD_KIND_BOOLEAN:
        case AMQP_FIELD_KIND_I8:
        case AMQP_FIELD_KIND_U8:
            return take(1, value);
        case AMQP_FIELD_KIND_I16:
        case AMQP_FIELD_KIND_U16:
            return take(2, value);
        case AMQP_FIELD_KIND_I32:
        case AMQP_FIELD_KIND_U32:
        case AMQP_FIELD_KIND_F32:
            return take(4, value);
        case AMQP_FIELD_KIND_DECIMAL:
            return take(5, value);
        case AMQP_FIELD_KIND_I64:
        case AMQP_FIELD_KIND_U64:
        case AMQP_FIELD_KIND_F64:
        case AMQP_FIELD_KIND_TIMESTAMP:
            return take(8, value);
        case AMQP_FIELD_KIND_UTF8:
        case AMQP_FIELD_KIND_BYTES:
            return take(long_size(), value);
        case AMQP_FIELD_KIND_TABLE:
            return skip_table(depth);
        case AMQP_FIELD_KIND_ARRAY:
            return skip_array(depth);
        default:
            return false;
        }
    }

    std::string_view rest_;
    int values_left_;
};

[[nodiscard]] amqp_method_number_t number_of(std::string_view payload) {
    if (payload.size() < method_id_bytes) {
        refuse(fmt::format("a method frame has {} bytes, and needs {}", payload.size(),
                           method_id_bytes));
    }
    amqp_method_number_t id = 0;
    for (const char each : payload.substr(0, method_id_bytes)) {
        id = id << 8 | static_cast<unsigned char>(each);
    }
    return id;
}

} // namespace

decoder::decoder() noexcept : pool_{} {
    ::init_amqp_pool(&pool_, pool_page_bytes);
}

decoder::~decoder() {
    ::empty_amqp_pool(&pool_);
}

method decoder::decode_method(std::uint16_t channel, std::string_view payload) {
    const amqp_method_number_t id = number_of(payload);
    const bool is_expected = channel == 0 ? std::ranges::count(spoken_on_connection, id) > 0
                                          : std::ranges::count(spoken_on_channels, id) > 0;
    if (!is_expected) {
        refuse(fmt::format("method {}.{} is none that a broker sends on channel {}", id >> 16,
                           id & 0xffff, channel));
    }
    payload.remove_prefix(method_id_bytes);
    if (id == AMQP_CONNECTION_START_METHOD) {
        constexpr std::size_t version_bytes = 2;
        if (payload.size() < version_bytes ||
            !table_check(payload.substr(version_bytes)).skip_table()) {
            refuse("the greeting's table cannot be read");
        }
    }
    ::recycle_amqp_pool(&pool_);
    method made{id, nullptr};
    if (::amqp_decode_method(id, &pool_, bytes(payload), &made.it) < 0) {
        refuse(fmt::format("method {}.{} cannot be read", id >> 16, id & 0xffff));
    }
    return made;
}

content_header decoder::decode_header(std::string_view payload) {
    if (payload.size() < header_bytes_least) {
        refuse(fmt::format("a header frame has {} bytes, and needs {}", payload.size(),
                           header_bytes_least));
    }
    const auto byte = [&](std::size_t at) {
        return unsigned{static_cast<unsigned char>(payload[at])};
    };
    const auto word = [&](std::size_t at) { return byte(at) << 8 | byte(at + 1); };
    const unsigned class_id = word(0);
    if (class_id != AMQP_BASIC_CLASS) {
        refuse(fmt::format("a message has a header of class {}, and not of basic", class_id));
    }
    content_header made;
    for (std::size_t i = 4; i < 12; ++i) {
        made.body_bytes = made.body_bytes << 8 | byte(i);
    }
    const unsigned flags = word(12);
    constexpr std::size_t flags_at = header_bytes_least - 2;
    std::string_view encoded = payload.substr(flags_at);
    // A second word of flags has no meaning, and the library's loop for it shifts too far.
    table_check rest(payload.substr(header_bytes_least));
    std::string_view headers;
    const bool is_sound = (flags & 1U) == 0 &&
                          ((flags & AMQP_BASIC_CONTENT_TYPE_FLAG) == 0 || rest.skip_short()) &&
                          ((flags & AMQP_BASIC_CONTENT_ENCODING_FLAG) == 0 || rest.skip_short()) &&
                          ((flags & AMQP_BASIC_HEADERS_FLAG) == 0 || rest.take_table(headers));
    if (is_sound && !headers.empty() && !table_check(headers).skip_table()) {
        made.are_headers_left_out = true;
        const unsigned others = flags & ~unsigned{AMQP_BASIC_HEADERS_FLAG};
        rest_ = {static_cast<char>(others >> 8), static_cast<char>(others & 0xff)};
        const auto headers_at = static_cast<std::size_t>(headers.data() - payload.data());
        rest_ += payload.substr(header_bytes_least, headers_at - header_bytes_least);
        rest_ += payload.substr(headers_at + headers.size());
        encoded = rest_;
    }
    ::recycle_amqp_pool(&pool_);
    void* decoded = nullptr;
    if (!is_sound ||
        ::amqp_decode_properties(AMQP_BASIC_CLASS, &pool_, bytes(encoded), &decoded) < 0) {
        refuse("the header of a message cannot be read");
    }
    made.props = static_cast<const amqp_basic_properties_t*>(decoded);
    return made;
}

} // namespace sapwood::amqp::detail
