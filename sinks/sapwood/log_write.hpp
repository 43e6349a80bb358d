// A log call's way into its thread's ring: everything that is compiled into the caller. Any thread.
#pragma once

#include <sapwood/log_backend.hpp>
#include <sapwood/log_format.hpp>
#include <sapwood/log_place.hpp>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <sapwood/fmt_library.hpp>
#include <source_location>
#include <tuple>
#include <utility>

namespace sapwood::detail {

class log_owner;

/// A logger, as its copies share it.
struct log_core {
    std::shared_ptr<log_owner> owner;
    log_backend* backend;
    std::string name;
    std::uint16_t id;
    /// Records from this level on are made.
    std::atomic<level> threshold;
    /// Those below this one, the level that it was given, are for outputs that keep such only.
    std::atomic<level> shown;
};

/// The flag of a record that is made for outputs only that keep such.
[[nodiscard, gnu::always_inline]] inline std::uint8_t kept_only_flag(const log_core& core,
                                                                     level importance) noexcept {
    return importance < core.shown.load(std::memory_order_relaxed) ? log_frame::kept_only
                                                                   : std::uint8_t{0};
}

[[nodiscard]] constexpr std::size_t frame_bytes(std::size_t text_bytes) noexcept {
    return (sizeof(log_frame) + text_bytes + 7) & ~std::size_t{7};
}

/// The header of a frame, in three stores of a word each: the compiler's own are narrower, and
/// read back at once, which the processor does not like.
[[gnu::always_inline]] inline void put_frame_header(char* to, const log_frame& frame) noexcept {
    const std::uint64_t words[] = {frame.bytes | std::uint64_t{frame.sequence} << 32, frame.ticks,
                                   frame.message_bytes | std::uint64_t{frame.logger} << 32 |
                                       std::uint64_t{frame.importance} << 48 |
                                       std::uint64_t{frame.flags} << 56};
    static_assert(sizeof(words) == sizeof(log_frame));
    std::memcpy(to, &words[0], 8);
    std::memcpy(to + 8, &words[1], 8);
    std::memcpy(to + 16, &words[2], 8);
}

/// Where a record's message ends, and where the fields behind it do.
struct log_text_ends {
    char* message;
    char* fields;
};

/// Puts a record into the ring. `put(to)` writes the message and the fields, `text_bytes_max` at
/// most, and returns log_text_ends; it may overwrite log_text_overrun_bytes_max bytes behind them.
/// They must fit; see put_long_record. `core` is a log_core, or a log_action_source. `now`, where
/// it is not 0, are ticks that were read since the thread's last record.
template <class Core, class Put>
[[gnu::always_inline]] inline void put_record(const Core& core, level importance,
                                              std::uint8_t flags, std::size_t text_bytes_max,
                                              Put&& put, std::uint64_t now = 0) {
    log_backend& backend = *core.backend;
    log_producer* const producer = backend.producer();
    if (producer == nullptr) [[unlikely]] {
        backend.count_drop_without_ring();
        return;
    }
    const std::size_t needed = frame_bytes(text_bytes_max + log_text_overrun_bytes_max);
    log_ring_writer& ring = producer->writer;
    char* place = ring.reserve(needed);
    if (place == nullptr) [[unlikely]] {
        place = backend.make_room(*producer, needed, importance);
        if (place == nullptr) {
            return;
        }
        now = 0;
    }
    // Behind the wait for room, if there was one: what another thread has logged meanwhile is
    // older.
    const std::uint64_t ticks = now != 0 ? now : backend.ticks();
    char* const text = place + sizeof(log_frame);
    const log_text_ends ends = put(text);
    const auto text_bytes = static_cast<std::size_t>(ends.fields - text);
    const std::size_t bytes = frame_bytes(text_bytes);
    const std::size_t padding = bytes - sizeof(log_frame) - text_bytes;
    put_frame_header(
        place, {.bytes = static_cast<std::uint32_t>(bytes),
                .sequence = static_cast<std::uint32_t>(ring.sequence()),
                .ticks = ticks,
                .message_bytes = static_cast<std::uint32_t>(ends.message - text),
                .logger = core.id,
                .importance = static_cast<std::uint8_t>(importance),
                .flags = static_cast<std::uint8_t>(flags | padding << log_frame::padding_shift)});
    ring.commit(bytes);
    backend.notify();
}

/// The same for what is too long for a ring: cut, at the end of a character, and without fields
/// that do not fit.
void put_long_record(const log_core& core, level importance, std::uint8_t flags,
                     std::string_view message, std::string_view fields, log_place place = {});

/// The longest text that is written in place without asking.
inline constexpr std::size_t log_text_bytes_max = 512;

/// What the consumer wants to know besides: where the call stands, which task it is in. An action's
/// last record has the place of its first one, and a rate of its own.
std::string context_fields(const log_backend& backend, const std::source_location& where,
                           bool is_end = false);

/// Everything but the quickest: messages that fmt makes, long ones, ones with context.
void put_slowly(const log_core& core, level importance, std::string_view message,
                std::string_view fields, std::source_location where);

template <std::size_t Index, class Format>
[[gnu::always_inline]] inline char* put_literal(char* to, const Format& format) noexcept {
    const std::string_view piece = format.template literal<Index>();
    std::memcpy(to, piece.data(), piece.size());
    return to + piece.size();
}

/// Argument `Index`: of the message, behind the literal before it, or one of the fields, of which
/// the first one stands behind the last literal.
template <std::size_t Index, class Format, class Text>
[[gnu::always_inline]] inline void put_argument(log_text_ends& ends, const Format& format,
                                                const Text& text, log_place place) noexcept {
    if constexpr (Index < Format::message_fields) {
        ends.message = text.put(put_literal<Index>(ends.message, format));
    } else {
        if constexpr (Index == Format::message_fields) {
            ends.message = put_literal<Index>(ends.message, format);
            ends.fields = place ? place.put(ends.message) : ends.message;
        }
        ends.fields = text.put(ends.fields);
    }
}

/// How an argument is handed to code that is not compiled into the caller: a number by value, so
/// that it need not be in memory for the sake of what is hardly ever called.
template <class T>
using log_argument_t = std::conditional_t<std::is_scalar_v<T>, T, const T&>;

template <class Arguments, std::size_t... Messages>
void format_message(fmt::basic_memory_buffer<char, log_text_bytes_max>& to, std::string_view format,
                    const Arguments& arguments, std::index_sequence<Messages...>) {
    fmt::vformat_to(fmt::appender(to), fmt::string_view(format.data(), format.size()),
                    fmt::make_format_args(std::get<Messages>(arguments)...));
}

template <class Field>
void append_field(std::string& to, const Field& field) {
    const std::size_t before = to.size();
    to.resize(before + field.size_max() + log_text_overrun_bytes_max);
    const char* const end = field.put(to.data() + before);
    to.resize(static_cast<std::size_t>(end - to.data()));
}

/// By way of fmt: what the quick way does not take.
template <class Format, class... Args>
[[gnu::noinline]] void put_formatted(const log_core& core, level importance, const Format format,
                                     log_argument_t<Args>... args) {
    constexpr std::size_t count = Format::message_fields;
    const std::tuple<const Args&...> arguments(args...);
    fmt::basic_memory_buffer<char, log_text_bytes_max> text;
    format_message(text, format.text(), arguments, std::make_index_sequence<count>());
    std::string fields;
    [&]<std::size_t... Indices>(std::index_sequence<Indices...>) {
        (append_field(fields, field_text(std::get<count + Indices>(arguments))), ...);
    }(std::make_index_sequence<sizeof...(Args) - count>());
    put_slowly(core, importance, {text.data(), text.size()}, fields, format.where());
}

/// `texts` are the message's arguments and behind them the fields, kept where they were made: to
/// copy one that was just written costs more than to make it. False, and nothing done, where the
/// record is too long for this, or more is to be said than that.
template <class Format, std::size_t... Indices, class... Texts>
[[gnu::always_inline]] inline bool put_texts(const log_core& core, level importance,
                                             const Format& format, std::index_sequence<Indices...>,
                                             const Texts&... texts) {
    constexpr std::size_t count = Format::message_fields;
    const std::size_t bytes_max = (format.literal_bytes() + ... + texts.size_max());
    if (bytes_max > log_text_bytes_max || core.backend->wants_context() ||
        !(texts.accepts() && ...)) [[unlikely]] {
        return false;
    }
    const bool plain = format.literals_are_plain() && ((Indices >= count || texts.plain()) && ...);
    const std::uint8_t kept_only = kept_only_flag(core, importance);
    const log_place place = log_place::take(*core.backend, kept_only != 0);
    const auto flags =
        static_cast<std::uint8_t>((plain ? log_frame::plain : 0) | kept_only |
                                  (sizeof...(Texts) > count || place ? log_frame::has_fields : 0));
    put_record(
        core, importance, flags,
        bytes_max + place.size_max(), [&](char* to) __attribute__((always_inline)) {
            log_text_ends ends{to, to};
            (put_argument<Indices>(ends, format, texts, place), ...);
            if constexpr (sizeof...(Texts) == count) {
                ends.message = put_literal<count>(ends.message, format);
                ends.fields = place ? place.put(ends.message) : ends.message;
            }
            return ends;
        });
    return true;
}

template <std::size_t Index, class Format, class T>
[[gnu::always_inline]] inline auto text_of(const Format& format, const T& value) {
    if constexpr (is_log_field<T>) {
        return field_text(value);
    } else {
        return log_text(value, format.spec(Index));
    }
}

template <class Format, std::size_t... Indices, class... Args>
[[gnu::always_inline]] inline bool
put_quickly(const log_core& core, level importance, const Format& format,
            std::index_sequence<Indices...> indices, const Args&... args) {
    return put_texts(core, importance, format, indices, text_of<Indices>(format, args)...);
}

template <class Format, class... Args>
[[gnu::always_inline]] inline void put_call(const log_core& core, level importance,
                                            const Format& format, const Args&... args) {
    if constexpr (Format::may_be_quick) {
        if (format.quick() && put_quickly(core, importance, format,
                                          std::index_sequence_for<Args...>(), args...)) [[likely]] {
            return;
        }
    }
    put_formatted<Format, Args...>(core, importance, format, args...);
}

} // namespace sapwood::detail
