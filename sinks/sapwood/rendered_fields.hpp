// rendered_fields: fields, as kv() makes them, in the form in which a record carries them. Up to
// half a KiB of them takes no allocation. Any thread.
#pragma once

#include <sapwood/kv.hpp>

#include <cstddef>
#include <memory>
#include <string_view>

namespace sapwood::detail {

class rendered_fields {
  public:
    template <class... T>
    explicit rendered_fields(const log_field<T>&... fields) {
        (add(field_text(fields)), ...);
    }

    rendered_fields(const rendered_fields&) = delete;
    rendered_fields& operator=(const rendered_fields&) = delete;

    /// Throws std::bad_alloc.
    template <class Text>
    void add(const Text& field) {
        const std::size_t bytes = field.size_max() + log_text_overrun_bytes_max;
        char* const to = size_ + bytes <= capacity_ ? text_ + size_ : grow(bytes);
        size_ = static_cast<std::size_t>(field.put(to) - text_);
    }

    [[nodiscard]] std::string_view view() const noexcept { return {text_, size_}; }

  private:
    /// Half a KiB, and what the last of them may take more than it does.
    static constexpr std::size_t inline_bytes = 512 + format_bytes_max + log_text_overrun_bytes_max;

    char* grow(std::size_t bytes) {
        const std::size_t larger = 2 * (size_ + bytes);
        std::unique_ptr<char[]> memory(new char[larger]);
        std::memcpy(memory.get(), text_, size_);
        large_ = std::move(memory);
        text_ = large_.get();
        capacity_ = larger;
        return text_ + size_;
    }

    char small_[inline_bytes]; // NOLINT: what was written is what view() shows
    std::unique_ptr<char[]> large_;
    char* text_ = small_;
    std::size_t size_ = 0;
    std::size_t capacity_ = inline_bytes;
};

} // namespace sapwood::detail
