#include <sapwood/log_names.hpp>

#include <sapwood/log_record.hpp>

#include <stdexcept>

namespace sapwood::detail {

std::uint16_t log_names::add(std::string_view name) {
    const std::lock_guard lock(mutex_);
    for (std::size_t i = 0; i < names_.size(); ++i) {
        if (*names_[i] == name) {
            return static_cast<std::uint16_t>(i);
        }
    }
    if (names_.size() == log_record::own_id) {
        throw std::length_error("a log has at most 65535 loggers of different names");
    }
    names_.push_back(std::make_unique<std::string>(name));
    return static_cast<std::uint16_t>(names_.size() - 1);
}

} // namespace sapwood::detail
