#include <sapwood/record.hpp>

#include <stdexcept>

namespace sapwood {

std::string_view to_string(level value) noexcept {
    switch (value) {
    case level::trace:
        return "trace";
    case level::debug:
        return "debug";
    case level::info:
        return "info";
    case level::warning:
        return "warning";
    case level::error:
        return "error";
    case level::critical:
        return "critical";
    }
    return "unknown";
}

char* record::reserve_on_heap(std::size_t size) {
    if (size > message_bytes_max) {
        throw std::length_error(fmt::format("a record of {} bytes is longer than the {} allowed",
                                            size, message_bytes_max));
    }
    heap_ = new char[size];
    size_ = static_cast<std::uint32_t>(size);
    return heap_;
}

} // namespace sapwood
