#include "failure_text.hpp"

#include <sapwood/task.hpp>

#include <cstdlib>
#include <cxxabi.h>
#include <memory>
#include <typeinfo>

namespace sapwood::detail {

std::string demangled(const char* name) {
    int status = 0;
    const std::unique_ptr<char, void (*)(void*)> plain(
        abi::__cxa_demangle(name, nullptr, nullptr, &status), std::free);
    return status == 0 ? plain.get() : name;
}

namespace {

/// What it says, where it is something that says anything.
std::string text_of_exception(const std::exception_ptr& error) {
    try {
        std::rethrow_exception(error);
    } catch (const std::exception& failure) {
        return failure.what();
    } catch (const std::string& text) {
        return text;
    } catch (const char* text) {
        return text;
    } catch (...) {
        return {};
    }
}

std::string type_of_exception(const std::exception_ptr& error) {
#ifdef __GLIBCXX__
    return demangled(error.__cxa_exception_type()->name());
#else
    try {
        std::rethrow_exception(error);
    } catch (const std::exception& failure) {
        return demangled(typeid(failure).name());
    } catch (...) {
        return "unknown";
    }
#endif
}

} // namespace

failure_text::failure_text(const std::exception_ptr& error) noexcept {
    try {
        read(error);
    } catch (...) { // no memory: the outcome is what counts
        exception_.clear();
        reason_.clear();
    }
}

void failure_text::read(const std::exception_ptr& error) {
    if (error == nullptr) {
        exception_ = "unknown";
        reason_ = "an exception that was handled without a record: log in its handler, or end the "
                  "action there by fail()";
    } else if (is_cancelled(error)) {
        outcome_ = action_outcome::cancelled;
        exception_ = "sapwood::cancelled";
        reason_ = "the task was asked to stop";
    } else {
        exception_ = type_of_exception(error);
        reason_ = text_of_exception(error);
    }
}

} // namespace sapwood::detail
