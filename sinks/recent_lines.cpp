#include <sapwood/recent_lines.hpp>

namespace sapwood::detail {

void recent_lines::add(std::string_view line) {
    if (line.size() > bytes_max_ || records_max_ == 0) {
        ++forgotten_;
        return;
    }
    while (sizes_.size() >= records_max_ || text().size() + line.size() > bytes_max_) {
        forget_oldest();
    }
    if (begin_ >= bytes_max_) { // now and then: what was forgotten goes
        text_.erase(0, begin_);
        begin_ = 0;
    }
    text_.append(line);
    try {
        sizes_.push_back(line.size());
    } catch (...) {
        text_.resize(text_.size() - line.size());
        throw;
    }
}

void recent_lines::forget_oldest() noexcept {
    begin_ += sizes_.front();
    sizes_.pop_front();
    ++forgotten_;
}

void recent_lines::clear() noexcept {
    text_.clear();
    begin_ = 0;
    sizes_.clear();
    forgotten_ = 0;
}

} // namespace sapwood::detail
