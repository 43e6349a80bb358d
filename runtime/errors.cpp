#include <sapwood/errors.hpp>

#include <string>

namespace sapwood {

namespace {

class sapwood_category final : public std::error_category {
  public:
    const char* name() const noexcept override { return "sapwood"; }

    std::string message(int value) const override {
        switch (static_cast<errc>(value)) {
        case errc::closed:
            return "the channel is closed";
        case errc::end_of_stream:
            return "the stream ended in the middle of what was to be read";
        case errc::piece_too_long:
            return "the delimiter did not come within the longest piece that is taken";
        case errc::lost:
            return "the record was accepted and lost";
        }
        return "unknown sapwood error " + std::to_string(value);
    }
};

} // namespace

const std::error_category& error_category() noexcept {
    static const sapwood_category instance;
    return instance;
}

std::error_code make_error_code(errc value) noexcept {
    return {static_cast<int>(value), error_category()};
}

} // namespace sapwood
