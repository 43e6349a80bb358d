// A log record as formats, filters and sinks see it: borrowed from the ring of the thread that made
// it, for the call only. Also the buffer that lines are rendered into. For the consumer's thread.
#pragma once

#include <sapwood/kv.hpp>
#include <sapwood/level.hpp>
#include <sapwood/wall_clock.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <span>
#include <string>
#include <string_view>

namespace sapwood {

/// Who logs. Lives as long as the thread's records.
struct log_thread {
    /// The kernel's number of the thread, as tools show it.
    std::uint32_t id = 0;
    /// Counts the threads that a log has seen; numbers are never used again.
    std::uint32_t ordinal = 0;
    /// As the kernel has it (pthread_setname_np); at the thread's first record.
    std::string name;
};

struct log_record {
    using time_point = wall_clock::time_point;

    /// The logger of what the log says itself, of gaps for example. No other one has that number.
    static constexpr std::string_view own_name = "sapwood";
    static constexpr std::uint16_t own_id = 0xffff;

    time_point when;
    level importance;
    /// is_plain(message) is known to hold.
    bool is_known_plain;
    /// The message was longer than a quarter of a ring, and is cut.
    bool is_truncated;
    /// It is below its logger's level, and was made for outputs that keep such (see log_recent).
    bool is_kept_only = false;
    std::string_view message;
    /// The logger's name, empty for the root, and its number.
    std::string_view logger;
    std::uint16_t logger_id;
    const log_thread& thread;
    /// Counts the records of the thread, those that were dropped included.
    std::uint64_t sequence;
    /// The fields as they are in the ring; see for_each_field.
    std::string_view fields;
    /// Of how many records it says that they are missing.
    std::uint64_t missing = 0;

    /// The log says it itself. In text such a line ends in own_mark, which nobody else can write:
    /// behind a backslash escape() has no parenthesis. So it is with what is cut.
    [[nodiscard]] bool is_own() const noexcept { return logger_id == own_id; }

    static constexpr std::string_view own_mark = " \\(log)";
    static constexpr std::string_view cut_mark = " \\(cut)";
};

namespace detail {

struct log_field_view {
    std::string_view key;
    std::string_view value;
    log_field_kind kind{};
};

/// Takes the first field off `fields`. False, and there is nothing more to be read, where there is
/// none that is whole.
[[nodiscard, gnu::always_inline]] inline bool take_field(std::string_view& fields,
                                                         log_field_view& field) noexcept {
    if (fields.size() < log_field_header_bytes) {
        return false;
    }
    log_field_header head{};
    std::memcpy(&head.value_bytes, fields.data(), 4);
    std::memcpy(&head.key_bytes, fields.data() + 4, 2);
    std::memcpy(&head.kind, fields.data() + 6, 1);
    const char* const key = fields.data() + log_field_header_bytes;
    const std::size_t bytes = std::size_t{head.key_bytes} + head.value_bytes;
    if (fields.size() - log_field_header_bytes < bytes) {
        return false;
    }
    field = {{key, head.key_bytes}, {key + head.key_bytes, head.value_bytes}, head.kind};
    fields = {key + bytes, fields.size() - log_field_header_bytes - bytes};
    return true;
}

/// Calls `visit` with each log_field_view of `fields`.
template <class Visit>
void for_each_field(std::string_view fields, Visit&& visit) {
    for (log_field_view field; take_field(fields, field);) {
        visit(field);
    }
}

/// Calls `visit` with those that the record says of itself, which are the first ones; returns the
/// user's, behind them.
template <class Visit>
[[nodiscard]] std::string_view for_each_own_field(std::string_view fields, Visit&& visit) {
    constexpr std::size_t kind_at = 6;
    log_field_view field;
    while (fields.size() >= log_field_header_bytes) {
        if (static_cast<log_field_kind>(fields[kind_at]) <= log_field_kind::boolean) {
            return fields;
        }
        if (!take_field(fields, field)) {
            break;
        }
        visit(field);
    }
    return {};
}

/// Calls `visit` with the name and the text of where in the source, and in which task, a record was
/// made, as far as it says so.
template <class Visit>
void for_each_context(const log_record& record, Visit&& visit) {
    constexpr std::string_view names[] = {"location", "function", "task"};
    for_each_field(record.fields, [&](const log_field_view& field) {
        if (field.kind > log_field_kind::boolean && field.kind <= log_field_kind::task) {
            visit(names[static_cast<int>(field.kind) - static_cast<int>(log_field_kind::location)],
                  field.value);
        }
    });
}

/// When and on which thread a record was made that did not come from there straight away.
struct log_origin {
    static constexpr std::size_t bytes = 12;

    /// 0: when it came.
    std::int64_t when_ns = 0;
    /// 0: the one that it came from.
    std::uint32_t thread = 0;

    void put(char* to) const noexcept {
        std::memcpy(to, &when_ns, 8);
        std::memcpy(to + 8, &thread, 4);
    }

    /// False, and nothing done, where the record's fields do not begin with one.
    [[nodiscard]] bool take(std::string_view fields) noexcept {
        constexpr std::size_t kind_at = 6;
        if (fields.size() < log_field_header_bytes + bytes ||
            static_cast<log_field_kind>(fields[kind_at]) != log_field_kind::origin) [[likely]] {
            return false;
        }
        std::memcpy(&when_ns, fields.data() + log_field_header_bytes, 8);
        std::memcpy(&thread, fields.data() + log_field_header_bytes + 8, 4);
        return true;
    }

    /// A thread that a log knows by its number only has an ordinal that no other one has.
    [[nodiscard]] log_thread as_thread() const { return {thread, 0x8000'0000U | thread, {}}; }
};

} // namespace detail

/// Lines on their way to a sink.
class log_buffer {
  public:
    explicit log_buffer(std::size_t capacity)
        : memory_(new char[capacity + slack_bytes]),
          capacity_(capacity) {}

    /// Room for `bytes` more, and slack_bytes behind them that may be overwritten. Throws
    /// std::bad_alloc, and nothing has changed then.
    [[nodiscard]] char* room(std::size_t bytes) {
        if (size_ + bytes > capacity_) [[unlikely]] {
            grow(bytes);
        }
        return memory_.get() + size_;
    }

    /// What stands before `end`, in what room() gave, is part of the text.
    void take(const char* end) noexcept { size_ = static_cast<std::size_t>(end - memory_.get()); }

    void append(std::string_view text) {
        char* const to = room(text.size());
        take(to + text.copy(to, text.size()));
    }

    void push_back(char c) {
        char* const to = room(1);
        *to = c;
        take(to + 1);
    }

    using value_type = char; // for std::back_inserter

    [[nodiscard]] std::string_view text() const noexcept { return {memory_.get(), size_}; }

    [[nodiscard]] std::size_t size() const noexcept { return size_; }

    /// Takes the first `bytes` out.
    void drop_front(std::size_t bytes) noexcept {
        std::memmove(memory_.get(), memory_.get() + bytes, size_ - bytes);
        size_ -= bytes;
    }

    /// To `size` bytes, as it was.
    void cut(std::size_t size) noexcept { size_ = size; }

    static constexpr std::size_t slack_bytes = 64;

  private:
    void grow(std::size_t bytes) {
        const std::size_t larger = std::max(size_ + bytes, capacity_ + capacity_ / 2);
        std::unique_ptr<char[]> memory(new char[larger + slack_bytes]);
        std::memcpy(memory.get(), memory_.get(), size_);
        memory_ = std::move(memory);
        capacity_ = larger;
    }

    std::unique_ptr<char[]> memory_;
    std::size_t capacity_;
    std::size_t size_ = 0;
};

/// How a line looks that a signal handler writes, which can do no better: as the default text, as
/// JSON with the default names, as logfmt.
enum class crash_form : std::uint8_t { text, json, logfmt };

/// How a record becomes a line. One output's; called on the consumer's thread only.
class log_layout {
  public:
    virtual ~log_layout() = default;

    /// Appends the record as one line, with its newline.
    virtual void append(const log_record& record, log_buffer& to) = 0;

    /// The same for each of them. Where it throws, `to` is cut to what it was by the caller.
    virtual void append_all(std::span<const log_record> records, log_buffer& to) {
        for (const log_record& each : records) {
            append(each, to);
        }
    }

    /// In a process that was forked, before the first line there: what the form remembers of its
    /// process, as its number, was the parent's.
    virtual void become_childs() {}

    /// What comes nearest to it.
    [[nodiscard]] virtual crash_form in_crash() const noexcept { return crash_form::text; }

    /// Whether lines hold where in the source the call stands, or the task's name: records carry
    /// them then, and calls cost more.
    [[nodiscard]] virtual bool wants_location() const noexcept { return false; }

    [[nodiscard]] virtual bool wants_task() const noexcept { return false; }
};

} // namespace sapwood
