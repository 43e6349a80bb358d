#include <sapwood/record.hpp>

#include <stdexcept>

namespace sapwood {

char* record::reserve_on_heap(std::size_t size) {
    if (size > message_bytes_max) {
        throw std::length_error(fmt::format("a record of {} bytes is longer than the {} allowed",
                                            size, message_bytes_max));
    }
    heap_ = new char[size + overrun_bytes_max];
    size_ = static_cast<std::uint32_t>(size);
    return heap_;
}

} // namespace sapwood
