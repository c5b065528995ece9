"""The HTTP service: it loads servables and answers requests for predictions with their uncertainty."""
