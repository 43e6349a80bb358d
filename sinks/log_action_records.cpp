// What actions write: their places in all records, and their first and last ones.
#include <sapwood/log_action.hpp>

#include <sapwood/log_escape.hpp>
#include <sapwood/log_record.hpp>
#include <sapwood/log_write.hpp>

#include <algorithm>
#include <cstring>
#include <fmt/format.h>
#include <new>
#include <string>

namespace sapwood::detail {

namespace {

/// What a record of an action says itself, in front of the user's fields: as much as fits.
class own_fields {
  public:
    explicit own_fields(std::size_t room) noexcept : room_(std::min(room, sizeof(text_) - 64)) {}

    void place(log_place where) noexcept {
        size_ = static_cast<std::size_t>(where.put(text_) - text_);
    }

    void add(log_field_kind kind, std::string_view value) noexcept {
        if (size_ + log_field_header_bytes >= room_) {
            return;
        }
        value = cut_at_character(value, room_ - size_ - log_field_header_bytes);
        char* const to = text_ + size_;
        put_field_header(to, {static_cast<std::uint32_t>(value.size()), 0, kind});
        value.copy(to + log_field_header_bytes, value.size());
        size_ += log_field_header_bytes + value.size();
    }

    template <class Number>
    void add_number(log_field_kind kind, Number value) noexcept {
        char bytes[sizeof(value)];
        std::memcpy(bytes, &value, sizeof(value));
        add(kind, {bytes, sizeof(bytes)});
    }

    [[nodiscard]] std::string_view view() const noexcept { return {text_, size_}; }

  private:
    std::size_t room_;
    std::size_t size_ = 0;
    char text_[4096]; // NOLINT: filled where size_ says so
};

/// For own fields: half of what a ring takes at most.
std::size_t own_bytes_max(log_backend& backend) noexcept {
    const log_producer* const producer = backend.producer();
    return producer != nullptr ? producer->writer.frame_bytes_max() / 2 : 512;
}

/// Where the action was begun, and what else the consumer wants to know. Without memory for it, a
/// record does without.
void add_context(own_fields& own, const log_backend& backend, const std::source_location& where,
                 bool is_end) noexcept {
    if (!backend.wants_context()) [[likely]] {
        return;
    }
    try {
        const std::string context = context_fields(backend, where, is_end);
        for_each_field(context, [&](const log_field_view& field) {
            own.add(field.kind, cut_at_character(field.value, 256));
        });
    } catch (const std::bad_alloc&) { // of the text
    }
}

void put_action_record(const log_action_source& source, level importance, std::uint8_t flags,
                       std::string_view name, std::string_view own,
                       std::string_view users) noexcept {
    flags |= log_frame::has_fields;
    const log_producer* const producer = source.backend->producer();
    if (producer != nullptr) {
        const std::size_t room = producer->writer.frame_bytes_max() - sizeof(log_frame) - 8 -
                                 log_text_overrun_bytes_max - own.size();
        name = cut_at_character(name, room);
        if (users.size() > room - name.size()) [[unlikely]] {
            users = {};
            flags |= log_frame::truncated;
        }
    }
    put_record(source, importance, flags, name.size() + own.size() + users.size(), [&](char* to) {
        char* const message_end = to + name.copy(to, name.size());
        std::memcpy(message_end, own.data(), own.size());
        char* const own_end = message_end + own.size();
        return log_text_ends{message_end, own_end + users.copy(own_end, users.size())};
    });
}

} // namespace

char* log_place::put(char* to) const noexcept {
    if (number_ == 0) [[unlikely]] {
        return put_inside(to);
    }
    char* const value = to + log_field_header_bytes;
    char* const end = put_decimal(inside_->put_identity(value), number_);
    put_field_header(to, {static_cast<std::uint32_t>(end - value), 0, log_field_kind::place});
    return end;
}

char* log_place::put_inside(char* to) const noexcept {
    constexpr std::string_view name = "inside";
    static_assert(bytes_max >=
                  log_field_header_bytes + name.size() + log_action::task_id_bytes_max);
    char* const id =
        to + log_field_header_bytes + name.copy(to + log_field_header_bytes, name.size());
    char* const end = inside_->put_task_id(id);
    put_field_header(to, {static_cast<std::uint32_t>(end - id), name.size(), log_field_kind::text});
    return end;
}

namespace {

/// A text of so many bytes or up to twice as many, in two pieces.
template <std::size_t piece>
[[gnu::always_inline]] inline void put_two_pieces(char* to, std::string_view text) noexcept {
    char first[piece];
    char last[piece];
    std::memcpy(first, text.data(), piece);
    std::memcpy(last, text.data() + text.size() - piece, piece);
    std::memcpy(to, first, piece);
    std::memcpy(to + text.size() - piece, last, piece);
}

/// A field or two, as most actions have, takes no call.
[[gnu::always_inline]] inline char* put_fields(char* to, std::string_view fields) noexcept {
    if (fields.size() - 8 > 32 - 8) [[unlikely]] {
        return to + fields.copy(to, fields.size());
    }
    if (fields.size() < 16) {
        put_two_pieces<8>(to, fields);
    } else {
        put_two_pieces<16>(to, fields);
    }
    return to + fields.size();
}

} // namespace

/// What the last record of most says of itself.
struct log_action::last_words {
    std::int64_t duration_ns;
    std::uint32_t number;
    std::uint32_t children;
};

/// The first record, or the last one of what ended well, where that is all that there is to say: in
/// one field, and straight into the ring. False, and nothing done, where it is not, or too long.
[[gnu::always_inline]] inline bool log_action::put_in_short(std::uint64_t ticks,
                                                            const last_words* last,
                                                            std::string_view users) const noexcept {
    log_backend& backend = *source_.backend;
    const log_producer* const producer = backend.producer();
    const std::size_t bytes_max = name_bytes_ + log_field_header_bytes + log_place::times_bytes +
                                  identity_bytes() + identity_bytes_at_once + users.size();
    if (backend.wants_context() || producer == nullptr ||
        frame_bytes(bytes_max + log_text_overrun_bytes_max) > producer->writer.frame_bytes_max())
        [[unlikely]] {
        return false;
    }
    const auto put = [&](char* to) __attribute__((always_inline)) {
        char* const message_end = put_text(to, name());
        char* const value = message_end + log_field_header_bytes;
        char* at = value;
        if (last != nullptr) {
            std::memcpy(at, &last->duration_ns, 8);
            std::memcpy(at + 8, &last->children, 4);
            at += log_place::times_bytes;
        }
        at = put_identity(at);
        if (last == nullptr || last->number < 10) [[likely]] {
            *at++ = static_cast<char>('0' + (last != nullptr ? last->number : 1));
        } else {
            at = put_decimal(at, last->number);
        }
        put_field_header(message_end,
                         {static_cast<std::uint32_t>(at - value), 0,
                          last != nullptr ? log_field_kind::succeeded : log_field_kind::begun});
        return log_text_ends{message_end, put_fields(at, users)};
    };
    put_record(source_, importance_, frame_flags_ | log_frame::has_fields, bytes_max, put, ticks);
    return true;
}

void log_action::add_success(std::string_view fields) {
    if (more_success_ == nullptr && success_bytes_ + fields.size() <= success_bytes_max) {
        success_bytes_ = static_cast<std::uint16_t>(
            success_bytes_ + fields.copy(success_ + success_bytes_, fields.size()));
        return;
    }
    if (more_success_ == nullptr) {
        more_success_ = std::make_unique<std::string>(success_, success_bytes_);
    }
    *more_success_ += fields;
}

void log_action::write_start(std::string_view fields) noexcept {
    next_.store(2, std::memory_order_relaxed); // nobody else knows it yet
    if (put_in_short(began_, nullptr, fields)) [[likely]] {
        return;
    }
    own_fields own(own_bytes_max(*source_.backend));
    own.place({this, 1});
    own.add(log_field_kind::status, "started");
    add_context(own, *source_.backend, where_, false);
    put_action_record(source_, importance_, frame_flags_, name(), own.view(), fields);
}

/// Where it is nobody else's, nobody takes a number meanwhile.
void log_action::write_end(const action_failure* failure, bool is_nobody_elses) noexcept {
    log_backend& backend = *source_.backend;
    if (backend.id() != backend_id_) {
        return; // in a forked child: it is its parent's
    }
    const std::uint64_t now = backend.ticks();
    const std::uint32_t number =
        is_nobody_elses ? next_.load(std::memory_order_relaxed) : take_number();
    const last_words last{.duration_ns = ticks_to_ns((ended_ != 0 ? ended_ : now) - began_,
                                                     backend.ticks_are_trusted()),
                          .number = number,
                          .children = number - 2};
    if (failure == nullptr) [[likely]] {
        const std::string_view users = more_success_ != nullptr
                                           ? std::string_view(*more_success_)
                                           : std::string_view(success_, success_bytes_);
        if (!put_in_short(now, &last, users)) [[unlikely]] {
            write_long_end(last, nullptr, users);
        }
    } else {
        write_long_end(last, failure, {});
    }
}

void log_action::write_long_end(const last_words& last, const action_failure* failure,
                                std::string_view users) noexcept {
    log_backend& backend = *source_.backend;
    own_fields own(own_bytes_max(backend));
    own.place({this, last.number});
    own.add(log_field_kind::status, failure == nullptr                              ? "succeeded"
                                    : failure->outcome == action_outcome::cancelled ? "cancelled"
                                                                                    : "failed");
    own.add_number(log_field_kind::duration, last.duration_ns);
    own.add_number(log_field_kind::children, last.children);
    add_context(own, backend, where_, true);
    level importance = importance_;
    if (failure != nullptr) {
        own.add(log_field_kind::exception, failure->exception.substr(0, 256));
        char place[256];
        const std::string_view file(where_.file_name());
        const std::string_view shown =
            file.substr(file.size() - std::min<std::size_t>(file.size(), 200));
        const auto end = fmt::format_to_n(place, sizeof(place), "{}:{}", shown, where_.line());
        own.add(log_field_kind::source, {place, std::min(end.size, sizeof(place))});
        own.add(log_field_kind::reason, failure->reason);
        if (failure->outcome == action_outcome::failed) {
            importance = std::max(importance, level::error);
        }
    }
    put_action_record(source_, importance, frame_flags_, name(), own.view(), users);
}

} // namespace sapwood::detail
